"""A fleet's figures, on a machine of its own: `make bench-fleet`."""
