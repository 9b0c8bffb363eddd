"""The actions of `sixtykey fleet`."""
