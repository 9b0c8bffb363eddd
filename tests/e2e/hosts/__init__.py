"""make e2e: the packages, installed on booted Debian hosts with a real systemd and sshd."""
