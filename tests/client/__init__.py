"""Tests of agent/client: the user's side."""
