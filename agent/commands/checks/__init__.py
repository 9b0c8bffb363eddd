"""What `sixtykey check` looks at, a subject each. Nothing here changes anything."""
