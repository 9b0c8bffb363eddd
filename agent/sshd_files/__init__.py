"""Parses the files of sshd and its PAM stack. Standard library only, since sshd-setup uses it."""
