"""Keys pushed through EC2's own API, from a real HTTP server, signed and certified by openssl."""
