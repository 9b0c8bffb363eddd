"""The real parts of tests, demo and benchmarks: daemon, sshd, keys, AWS clients."""
