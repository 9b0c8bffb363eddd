"""The client: finds the host, pushes the session's key, connects. It uses no code of the daemon."""
