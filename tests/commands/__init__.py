"""The operator's commands, run as people run them."""
