"""The EC2 Instance Connect API: from bytes of HTTP to a lease, or to an error of the reference."""
