"""What gateways and hosts sign and send to each other; pure functions of bytes."""
