"""Tests of agent/lookup."""
