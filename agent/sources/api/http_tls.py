"""HTTP/1.1 within TLS, on bytes in memory: no socket, and no step before the caller asks for it.

asyncio's own TLS takes each step of a handshake as soon as its bytes arrive, which keeps lookups
waiting, and reads up to 512 KiB ahead. Here the caller gives each step its turn, and what has
arrived is decrypted only as far as there is room for it.
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

# What is read, and decrypted, at once. An honest request is smaller.
_CHUNK = 4 * 1024


class SecureWire(Wire):
    """A Wire whose bytes are encrypted, in both directions.

    `greeted` says whether the handshake is complete: until then there are no messages.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self.greeted = False
        self._context = context
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        # Made when the client speaks: who is silent costs no memory of OpenSSL's.
        self._end: Optional[ssl.SSLObject] = None
        self._fed = 0

    @property
    def room(self) -> int:
        """How many bytes may be fed; 0 while there are some that nobody has asked to decrypt."""
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
        """Take one step of the handshake, which may take milliseconds; what is to be sent then.

        Raises:
            ssl.SSLError: there will be no connection. `end` tells the client why.
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
        """The peer, with what the handshake has shown of it."""
        cipher, certificate = self._tls.cipher(), self._tls.getpeercert()
        return replace(
            peer,
            tls=None if cipher is None else f"{cipher[1]} {cipher[0]}",
            certificate=_subject(certificate) if certificate else None,
            certificate_demanded=self._context.verify_mode != ssl.CERT_NONE,
        )

    def next_message(self) -> Optional[Message]:
        """As Wire's: what has arrived is decrypted as far as that takes."""
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
        """Why the handshake failed; after it, that no more is coming (RFC 8446 section 6.1).

        Nothing is decrypted or encrypted after it. OpenSSL's memory is freed now: the connection
        and its transport refer to each other, and are collected much later.
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
        """Decrypt what is needed for the next message; whether there was anything."""
        before = self._room
        while self._end is not None and self._incomplete and not self.ended:
            try:
                data = self._end.read(min(self._room, _CHUNK))
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError:
                data = b""  # broken: nothing after it can be trusted
            self.ended = not data
            super().feed(data)
        return self._room < before

    def _encrypt(self, data: bytes) -> bytes:
        """Encrypt it; after the client has broken TLS there is nothing that it could read."""
        with contextlib.suppress(ssl.SSLError):
            while data:
                data = data[self._tls.write(data) :]
        return self._outgoing.read()


def _subject(certificate: dict[str, Any]) -> str:
    """The subject's attributes, as in CN=deploy,O=Example."""
    return ",".join(f"{name}={value}" for part in certificate["subject"] for name, value in part)
