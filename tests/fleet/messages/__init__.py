"""Tests of the signed messages."""
