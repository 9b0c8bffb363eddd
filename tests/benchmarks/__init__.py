"""Figures, each measured in turns with its floor or its peer. `python -m tests.benchmarks`."""
