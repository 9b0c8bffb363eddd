"""Tests of agent/sources/api: the cores on values, the shells and the table over real sockets."""
