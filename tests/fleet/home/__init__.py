"""Tests of who belongs to the fleet."""
