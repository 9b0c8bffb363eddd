"""Scenarios with a real daemon, a real sshd and real clients."""
