"""Connects sshd to sixtykey, and disconnects it: plan, write, verify, and roll back on failure.

Installed as /usr/lib/sixtykey/sshd-setup. The packages' scripts run it when Python's other packages
may be half installed, so it uses the standard library only.
"""
