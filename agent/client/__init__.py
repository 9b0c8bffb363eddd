"""The user's side: finds the host, pushes the session's key, connects. Nothing of the daemon."""
