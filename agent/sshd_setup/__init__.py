"""Connects sshd to sixtykey, and disconnects it: plan, write, prove, and put back if that fails.

Installed as /usr/lib/sixtykey/sshd-setup and run by the packages' scripts, when Python's other
packages may be out of order: standard library only.
"""
