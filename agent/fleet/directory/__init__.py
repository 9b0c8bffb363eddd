"""The hosts as a gateway sees them: which are connected, what they say, and whom it trusts."""
