"""Clients made for EC2, unmodified, against the daemon."""
