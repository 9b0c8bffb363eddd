"""sixtykey-gateway: a fleet's endpoint, where pushes come in and hosts join and renew."""
