"""The bus (NATS): connections, requests over them, keys, tokens, roles and configuration."""
