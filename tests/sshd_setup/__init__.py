"""Tests of agent/sshd_setup, against a real sshd's own reading of its files."""
