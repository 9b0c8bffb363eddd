"""Where leases come from; no source knows another."""
