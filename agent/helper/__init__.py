"""Programs that sshd runs. They import nothing of the daemon."""
