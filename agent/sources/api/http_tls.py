"""HTTP/1.1 within TLS, on bytes in memory, without sockets; the caller starts each step.

asyncio's own TLS takes each handshake step as soon as its bytes arrive, which delays lookups, and
reads up to 512 KiB ahead. Here the caller schedules each step, and what has arrived is decrypted
only as far as there is room for it.
Source: RFC 8446 (TLS 1.3), RFC 5246 (TLS 1.2); the protocol itself is OpenSSL's.
"""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import replace
from typing import Any, Optional

from agent.config.limits import LIMITS
from agent.sources.api.message import Peer, Response
from agent.sources.api.wire import Message, Wire

# Bytes that are read and decrypted in one step. A normal request is smaller.
_CHUNK = 4 * 1024


class SecureWire(Wire):
    """A Wire whose bytes are encrypted, in both directions.

    `greeted`: whether the handshake is complete; until then there are no messages.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self.greeted = False
        self._context = context
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        # Made when the first bytes arrive: a silent client costs no OpenSSL memory.
        self._end: Optional[ssl.SSLObject] = None
        self._fed = 0

    @property
    def room(self) -> int:
        """How many bytes may be fed; 0 while there are bytes to decrypt."""
        return 0 if self._incoming.pending else _CHUNK

    def feed(self, data: bytes) -> None:
        """Encrypted bytes have arrived. Raises ValueError when there are more than `room`."""
        if len(data) > self.room:
            raise ValueError(f"{len(data)} bytes, and room for {self.room}")
        self._fed += len(data)
        self._incoming.write(data)
        if self.greeted:
            self._decrypt()

    def shake_hands(self) -> bytes:
        """Take one step of the handshake, which may take milliseconds; returns bytes to send.

        Raises:
            ssl.SSLError: the handshake failed. `end` has the alert for the client.
        """
        if self._fed > LIMITS.handshake_bytes:
            raise ssl.SSLError("the handshake is too long")
        if self._end is None:
            self._end = self._context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        with contextlib.suppress(ssl.SSLWantReadError):
            self._end.do_handshake()
            self.greeted = True
            self._decrypt()
        return self._outgoing.read()

    def describe(self, peer: Peer) -> Peer:
        """The peer, with what is known from the handshake."""
        cipher, certificate = self._tls.cipher(), self._tls.getpeercert()
        return replace(
            peer,
            tls=None if cipher is None else f"{cipher[1]} {cipher[0]}",
            certificate=_subject(certificate) if certificate else None,
            certificate_demanded=self._context.verify_mode != ssl.CERT_NONE,
        )

    def next_message(self) -> Optional[Message]:
        """As Wire's; decrypts as much as it needs."""
        message = super().next_message()
        while message is None and self._decrypt():
            message = super().next_message()
        return message

    def go_on(self) -> None:
        """The answer has been sent: the next request may begin."""
        super().go_on()
        self._decrypt()

    def send_continue(self) -> bytes:
        """100 Continue, encrypted."""
        return self._encrypt(super().send_continue())

    def send(self, response: Response, close: bool = False) -> bytes:
        """The response, whole and encrypted. `close`: it is the last on this connection."""
        return self._encrypt(super().send(response, close))

    def end(self) -> bytes:
        """The last bytes: an alert if the handshake failed, else close_notify (RFC 8446, 6.1).

        Nothing is decrypted or encrypted after it. OpenSSL's memory is freed now: the connection
        and its transport are a reference cycle, and collected much later.
        """
        if self._end is not None:
            with contextlib.suppress(ssl.SSLError):
                self._end.unwrap()
        last, self._end = self._outgoing.read(), None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        return last

    @property
    def _tls(self) -> ssl.SSLObject:
        assert self._end is not None  # noqa: S101 - there is no message before the handshake
        return self._end

    def _decrypt(self) -> bool:
        """Decrypt what the next message needs; returns whether there was anything."""
        before = self._room
        while self._end is not None and self._incomplete and not self.ended:
            try:
                data = self._end.read(min(self._room, _CHUNK))
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError:
                data = b""  # TLS is broken: nothing after it can be trusted
            self.ended = not data
            super().feed(data)
        return self._room < before

    def _encrypt(self, data: bytes) -> bytes:
        """Encrypt it; nothing if the client has broken TLS and could not read it."""
        with contextlib.suppress(ssl.SSLError):
            while data:
                data = data[self._tls.write(data) :]
        return self._outgoing.read()


def _subject(certificate: dict[str, Any]) -> str:
    """The subject's attributes, as in CN=deploy,O=Example."""
    return ",".join(f"{name}={value}" for part in certificate["subject"] for name, value in part)
