"""A host's side of a fleet: its files, its signature, and its requests to a gateway."""
