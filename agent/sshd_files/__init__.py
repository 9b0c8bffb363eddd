"""What sshd and its PAM stack read, line by line. Standard library only, for sshd-setup's sake."""
