"""Tests of agent/helper."""
