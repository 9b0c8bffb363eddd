"""Unmodified clients of EC2 Instance Connect against the daemon."""
