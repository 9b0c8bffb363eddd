"""An attacker between a client and a server of the bus, with neither a certificate nor a key.

nats-server speaks first, and in plain text: its INFO line says whether TLS follows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any, Optional

from tests.parts.bus import PATIENCE

# How a TLS record with a client's hello begins (RFC 8446, section 5.1).
_HELLO = b"\x16\x03"


class NetworkThief:
    """Plays a server: `heard` is what clients send to it.

    It says `first` in plain text, and `after` without end once the client seems to be connected.
    With a `context` it is a server that was taken over.
    """

    def __init__(self, first: bytes, after: bytes = b"", context: Optional[Any] = None) -> None:
        self.heard: list[bytes] = []
        self.connections = 0
        # Python 3.13 closes a connection whose writer nothing refers to, also below TLS.
        self._writers: list[asyncio.StreamWriter] = []
        self._first = first
        self._after = after
        self._context = context

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Play a server: its first line, then `after` without end, whatever the client sends."""
        self.connections += 1
        self._writers.append(writer)
        flood: Optional[asyncio.Task[None]] = None
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            writer.write(self._first)
            await writer.drain()
            if self._context is not None:
                reader, writer = await _encrypt(writer, self._context)
            while data := await asyncio.wait_for(reader.read(65536), PATIENCE):
                self.heard.append(data)
                if data.startswith(_HELLO) and self._context is None:
                    break  # without a certificate there is nothing to say to this
                if b"PING" in data:
                    writer.write(b"PONG\r\n")
                    await writer.drain()
                    if self._after and flood is None:
                        flood = asyncio.create_task(self._flood(writer))
        if flood is not None:
            flood.cancel()
        writer.close()

    def hang_up(self) -> None:
        """End all connections: since Python 3.12 a server waits for them when it ends."""
        for writer in self._writers:
            writer.transport.abort()

    async def _flood(self, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                writer.write(self._after)
                await writer.drain()
                await asyncio.sleep(0)


async def _encrypt(
    writer: asyncio.StreamWriter, context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The same connection with TLS, as a server that was taken over has it."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport = await loop.start_tls(writer.transport, protocol, context, server_side=True)
    assert transport is not None
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def info(**members: Any) -> bytes:
    """A server's first line, with these members; without those that are None."""
    usual: dict[str, Any] = {
        "server_id": "N", "version": "2.12.6", "proto": 1, "headers": True, "auth_required": True,
        "tls_required": True, "max_payload": 1 << 20, "nonce": "tAvk27lkLMKK90U",
    }  # fmt: skip
    told = {name: each for name, each in {**usual, **members}.items() if each is not None}
    return f"INFO {json.dumps(told)}\r\n".encode()


@contextlib.asynccontextmanager
async def thief(
    first: bytes, after: bytes = b"", context: Optional[Any] = None
) -> AsyncIterator[tuple[str, NetworkThief]]:
    """The URL of the attacker's port, and the attacker."""
    made = NetworkThief(first, after, context)
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as server:
        try:
            yield f"tls://127.0.0.1:{server.sockets[0].getsockname()[1]}", made
        finally:
            made.hang_up()
