"""Tests of agent/fleet/, with a real nats-server where the bus is involved."""
