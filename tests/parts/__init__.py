"""The real parts that tests, demo and benchmarks are made of: daemon, sshd, keys, AWS clients."""
