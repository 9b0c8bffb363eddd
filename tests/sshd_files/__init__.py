"""Tests of agent/sshd_files."""
