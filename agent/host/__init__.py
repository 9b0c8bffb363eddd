"""What the daemon asks of its host: clocks, sockets, memory, systemd."""
