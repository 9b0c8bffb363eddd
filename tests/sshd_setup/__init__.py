"""Tests of agent/sshd_setup; a real sshd reads the resulting files."""
