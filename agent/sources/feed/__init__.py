"""The source socket: leases that separate processes with network access offer the daemon."""
