"""Tests of agent/leases."""
