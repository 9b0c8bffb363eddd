"""sixtykeyd-fleet: carries signed messages between a fleet's bus and the daemon, and back."""
