"""What sshd is answered."""
