"""How to connect to the bus: its servers, the trusted authority, and our credentials."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from agent.config.fleet_limits import FLEET
from agent.fleet.bus import jwt
from agent.fleet.bus.nkeys import KeyPair
from agent.host import files


@dataclass(frozen=True)
class Access:
    """URLs of the bus's servers, the authority's file, and a .creds file."""

    servers: tuple[str, ...]
    ca: str
    creds: str

    def context(self) -> ssl.SSLContext:
        """The TLS context, which trusts this authority only. Raises OSError."""
        context = ssl.create_default_context(cafile=self.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    def read(self) -> tuple[str, KeyPair]:
        """Read the token and the key from the .creds file. Raises OSError and ValueError."""
        return jwt.read_creds(files.read(self.creds, FLEET.file_bytes))
