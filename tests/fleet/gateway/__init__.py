"""Tests of sixtykey-gateway."""
