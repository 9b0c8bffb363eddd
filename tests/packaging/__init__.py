"""How packages are made."""
