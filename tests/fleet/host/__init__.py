"""Tests of agent/fleet/host."""
