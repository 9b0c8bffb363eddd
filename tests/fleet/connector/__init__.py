"""Tests of sixtykeyd-fleet."""
