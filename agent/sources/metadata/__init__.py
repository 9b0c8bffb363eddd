"""sixtykeyd-ec2: keys that EC2's own API pushed, fetched from instance metadata and verified."""
