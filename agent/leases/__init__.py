"""Live keys: parsed, kept until their end, and durable."""
