"""The source socket: what the processes with a network of their own offer the daemon."""
