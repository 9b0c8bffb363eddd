"""Lines as the daemon writes them for sshd."""

from __future__ import annotations

from tests.parts.keys import KeyPair

REQUEST_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"


def line(key: KeyPair) -> bytes:
    """The line that the daemon writes for a key."""
    return f"{key.type} {key.base64} {REQUEST_ID}\n".encode()
