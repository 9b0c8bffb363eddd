"""nats-py's client, guarded against a hostile server, and against whoever is on the way to it.

A server speaks first, in plain text, and its line says whether TLS follows. nats-py believes it,
also for tls://: whoever is on the way could leave it out, and play the server without any
certificate. nats-py also adds every server that a server names to its list, keeps a message of any
length in memory, and ends with any exception when a line is not as it expects. The headers of a
message are its sender's, for instance a joined host's: if they are malformed, nats-py stops reading
and does not close the connection.
"""

from __future__ import annotations

import asyncio
from typing import Any

from nats.aio.client import Client
from nats.errors import Error, ProtocolError
from nats.protocol.parser import AWAITING_MSG_PAYLOAD, Parser

from agent.config.fleet_limits import FLEET


class GuardedClient(Client):
    """A client that encrypts wherever the URL says tls://, and takes bounded memory."""

    def __init__(self) -> None:
        super().__init__()
        self._ps = _BoundedParser(self)

    async def connect(self, *servers: Any, **options: Any) -> None:
        """Connect, as nats-py does.

        Raises Error, OSError, ValueError or TimeoutError, whatever the server says.
        """
        try:
            await super().connect(*servers, **options)
            # Once more, in case that nats-py comes to call the methods below otherwise.
            self._check_encrypted()
        except (Error, OSError, ValueError, asyncio.TimeoutError):
            raise
        except Exception as error:  # noqa: BLE001 - of any kind, as the server's words are
            words = f"the server does not speak as nats-server does ({type(error).__name__})"
            raise Error(words) from None
        if type(self._max_payload) is not int or self._max_payload < 2 * FLEET.document_bytes:
            raise Error("the server takes no messages of the size that the fleet's have")

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """Insist on TLS, and ignore other servers: each is known by its name."""
        if initial_connection and self._needs_tls():
            info["tls_required"] = True

    async def _process_msg(self, *message: Any) -> None:
        """Pass a message on. One that nats-py cannot read is dropped, and no other one."""
        try:
            await super()._process_msg(*message)
        except Exception as error:  # noqa: BLE001 - of any kind, as the sender's bytes are
            # Not the error's own text, which may be a copy of the whole message.
            words = f"a message is not readable ({type(error).__name__})"
            await self._error_cb(Error(words))

    def _connect_command(self) -> bytes:
        """The client's first line, which has its token. Raises Error without TLS."""
        self._check_encrypted()
        return super()._connect_command()

    def _needs_tls(self) -> bool:
        """Whether it does: configuration allows nats:// on loopback only."""
        server = self._current_server
        return server is None or server.uri.scheme != "nats"

    def _check_encrypted(self) -> None:
        writer = getattr(self._transport, "_io_writer", None)
        encrypted = writer is not None and writer.get_extra_info("ssl_object") is not None
        if self._needs_tls() and not encrypted:
            raise Error("the connection is not encrypted: somebody intercepts it")


class _BoundedParser(Parser):
    """nats-py's parser, which refuses long lines and messages instead of keeping them."""

    async def parse(self, data: bytes = b"") -> None:
        """Parse what the server has sent. Raises ProtocolError, which ends the connection."""
        try:
            await super().parse(data)
        except (ValueError, RecursionError, TypeError, AttributeError):
            # nats-py would stop reading without closing the connection.
            raise ProtocolError("the server sends a line that is not readable") from None
        most, waiting = FLEET.bus_line_bytes, len(self.buf)
        if self.state == AWAITING_MSG_PAYLOAD:
            most, waiting = FLEET.bus_message_bytes, self.needed
        if waiting > most:
            raise ProtocolError("the server sends a line or a message that is too long")
