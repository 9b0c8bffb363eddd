"""A fleet's figures, measured on one machine: `make bench-fleet`."""
