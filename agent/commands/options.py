"""Options that several commands have; config/command_line.py reads them."""

from __future__ import annotations

from agent.config.command_line import Options, Usage, help_text, one_word, parse, refuse_more

__all__ = [
    "CLIENT", "DAEMON", "HOST", "JSON", "Options", "Usage", "help_text", "one_word", "parse",
    "refuse_more",
]  # fmt: skip

JSON = {"--json": ("", "print JSON")}
DAEMON = {
    "--socket": ("PATH", "the daemon's push socket (default: /run/sixtykey/push.sock)"),
    "--config": ("FILE", "the configuration that names it (default: /etc/sixtykey/config.yaml)"),
}
CLIENT = {
    "--config": ("FILE", "the user's configuration (default: ~/.config/sixtykey/client.yaml)"),
    "--debug": ("", "print each step, and the origin of each value, on stderr"),
}
# Where to push, for the commands that do; the same in client.yaml, and as SIXTYKEY_... variables.
HOST = {
    "--endpoint": ("URL|aws", "a host or a gateway, or aws: EC2 Instance Connect itself"),
    "--region": ("NAME", "the region to sign for, and the EC2 region to search"),
    "--profile": ("NAME", "the profile of AWS's files"),
    "--ca": ("FILE", "the certificates that may issue the endpoint's (PEM)"),
    "--instance": ("ID", "the instance id; the endpoint is not asked for it"),
    "--zone": ("NAME", "its Availability Zone"),
    "--address": ("NAME", "where to connect to"),
    "--network": ("KIND", "which EC2 address to use: any, private, public or ipv6"),
    "--jump": ("HOST", "connect through that host, as ssh -J does"),
}
