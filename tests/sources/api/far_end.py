"""The client's end of a connection, in memory, plain or encrypted.

It sends its requests in pieces, without waiting for the answers, and reads what it is answered.
"""

from __future__ import annotations

import contextlib
import ssl
import tempfile
from functools import cache
from pathlib import Path
from typing import Optional

from agent.config.limits import LIMITS
from tests.parts.certificates import Authority


@cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The TLS contexts of the server and of the client."""
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder))
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.load_cert_chain(*authority.issue("server"))
        return server, authority.trusting()


class FarEnd:
    """A client; `sending` holds the bytes that it has sent and the server has not yet read."""

    def __init__(self, *, secure: bool) -> None:
        self.sending = bytearray()
        self._heard = b""
        self._unsaid = b""
        self._tls: Optional[ssl.SSLObject] = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        if secure:
            self._tls = contexts()[1].wrap_bio(
                self._incoming, self._outgoing, server_hostname="localhost"
            )
            self.hear(b"")

    def request(self, number: int, size: int, filler: int) -> None:
        """Send a request: a body of `size` bytes that begins with a number, and a padded head."""
        body = f"{number:06}".encode().ljust(size, b".")
        head = f"POST / HTTP/1.1\r\nHost: a\r\nX: {'x' * filler}\r\nContent-Length: {len(body)}"
        self.say(head.encode() + b"\r\n\r\n" + body)

    def say(self, data: bytes) -> None:
        """Send this, once the handshake is complete."""
        if self._tls is None:
            self.sending += data
        else:
            self._unsaid += data
            self.hear(b"")

    @property
    def has_said_all(self) -> bool:
        """Whether no data is waiting for the handshake to complete."""
        return not self._unsaid

    def finish(self) -> None:
        """Close the sending side with a close_notify if the connection is encrypted."""
        if self._tls is not None:
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            self.sending += self._outgoing.read()

    def hear(self, data: bytes) -> None:
        """Take bytes from the server."""
        if self._tls is None:
            self._heard += data
            return
        self._incoming.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
            if self._unsaid:
                self._tls.write(self._unsaid)
                self._unsaid = b""
            while data := self._tls.read(65536):
                self._heard += data
        self.sending += self._outgoing.read()

    def answers(self) -> list[int]:
        """The numbers in the answers that have arrived completely; each is returned once."""
        found = []
        while b"\r\n\r\n" in self._heard:
            head, _, rest = self._heard.partition(b"\r\n\r\n")
            length = int(head.partition(b"Content-Length: ")[2].partition(b"\r")[0])
            if len(rest) < length:
                break
            found.append(int(rest[:length]))
            self._heard = rest[length:]
        return found


# The longest request that is accepted, with room in the head for a few more lines.
LONGEST_BODY = LIMITS.body_bytes
LONGEST_FILLER = LIMITS.head_bytes - 100
