"""Figures: each beside its floor or its peer, measured in turns. `python -m tests.benchmarks`."""
