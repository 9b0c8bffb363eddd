"""Answers sshd's lookups."""
