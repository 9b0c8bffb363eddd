"""Keys that EC2's own API pushed: from a real HTTP server, signed and certified by openssl."""
