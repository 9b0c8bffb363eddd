"""Tests: the tree mirrors agent/, with the real parts in parts/ and whole scenarios in e2e/."""
