"""Every decision, recorded and remembered."""
