"""Tests of how the packages are built."""
