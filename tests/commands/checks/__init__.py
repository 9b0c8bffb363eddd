"""What `sixtykey check` looks at, where no whole host is needed to see it."""
