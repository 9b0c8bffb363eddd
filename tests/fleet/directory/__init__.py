"""Tests of the connected hosts."""
