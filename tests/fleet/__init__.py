"""Tests of agent/fleet/, with a real nats-server where one is spoken to."""
