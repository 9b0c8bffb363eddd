"""The first gateway's side of a fleet: its keys, its facts, and who has joined."""
