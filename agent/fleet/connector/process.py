"""The process sixtykeyd-fleet: carries messages from the bus to the daemon, and answers back.

It does not read the messages: the daemon decides and signs. An attacker who takes over this process
can let nobody in.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error

from agent.config.fleet_limits import FLEET
from agent.config.limits import LIMITS
from agent.fleet.bus.access import Access
from agent.fleet.bus.connection import BusConnection
from agent.fleet.connector.holding import Held, Holding
from agent.fleet.messages.lease_exchange import SUBJECT
from agent.host.clock import Clock
from agent.host.serving import end
from agent.sources.feed.members import MAX_BYTES, Violation
from agent.sources.feed.messages import (
    Addresses,
    Deliver,
    FromSource,
    Health,
    Hello,
    Reply,
    encode,
    from_daemon,
)

log = logging.getLogger("sixtykeyd-fleet")


@dataclass(frozen=True)
class Names:
    """This host's instance id, and its name in the fleet."""

    instance: str
    name: str


class Process:
    """Keeps one connection to the bus and one to the daemon. Made within the running event loop.

    `socket`: the path of the daemon's source socket.
    """

    def __init__(self, access: Access, socket: str, names: Names, clock: Clock) -> None:
        self._clock = clock
        self._socket = socket
        self._subject = SUBJECT + names.instance
        self._bus = BusConnection(access, f"{names.instance} {names.name}", self._subscribe)
        self._holding = Holding()
        self._writer: Optional[asyncio.StreamWriter] = None
        self._last_logged = ""

    async def run(self) -> None:
        """Run until cancelled."""
        working = [
            asyncio.create_task(each) for each in (self._bus.run(), self._watch(), self._serve())
        ]
        try:
            # No task ends by itself. If one does, that is a bug: exit, and systemd restarts us.
            await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
        finally:
            errors = await end(*working)
        for error in errors:
            raise error

    # The bus.

    async def _subscribe(self, client: Client) -> None:
        """Subscribe to this host's messages on a new connection."""
        most = FLEET.held_messages
        await client.subscribe(
            self._subject,
            cb=self._receive,
            pending_msgs_limit=most,
            pending_bytes_limit=most * FLEET.document_bytes,
        )

    async def _receive(self, message: Msg) -> None:
        """Send a message from the bus to the daemon, or hold it until the daemon is back."""
        # Drop what cannot be a document: the daemon would disconnect us for an empty message.
        if not message.reply or not 0 < len(message.data) <= FLEET.document_bytes:
            return
        held = self._holding.put(message.data, message, self._clock.boottime())
        if held is not None:
            self._deliver(held)

    async def _watch(self) -> None:
        """Report the state of the bus to the daemon whenever it changes."""
        while True:
            await self._bus.connected.wait()
            self._report_bus()
            while self._bus.connected.is_set():
                await asyncio.sleep(FLEET.daemon_seconds)
            self._report_bus()

    def _report_bus(self) -> None:
        """Report the state of the bus, and this host's addresses."""
        client = self._bus.client
        if client is None:
            self._send(Health(False, "the bus is not reachable"))
        else:
            self._send(Addresses(_addresses(client)))
            self._send(Health(True))

    # The daemon.

    async def _serve(self) -> None:
        pause = FLEET.daemon_seconds
        while True:
            began = self._clock.boottime()
            try:
                await self._serve_once()
            except (OSError, ValueError) as error:
                self._log_change(f"no connection to the daemon: {error}")
                began = float("-inf")
            # The daemon keeps one connection per source. Two of these processes would replace each
            # other for ever, so a short connection makes the pause longer.
            brief = self._clock.boottime() < began + LIMITS.reconnect_seconds
            pause = min(pause * 2, LIMITS.reconnect_seconds) if brief else FLEET.daemon_seconds
            await asyncio.sleep(pause)

    async def _serve_once(self) -> None:
        """Connect, deliver the waiting messages, and carry answers until the daemon goes away."""
        reader, writer = await asyncio.open_unix_connection(self._socket, limit=MAX_BYTES)
        self._writer = writer
        try:
            self._send(Hello("fleet"))
            self._report_bus()
            self._log_change(f"connected to {self._socket}")
            for held in self._holding.waiting(self._clock.boottime()):
                self._deliver(held)
            while line := await reader.readline():
                await self._answer(line)
            self._log_change("the daemon has closed the connection")
        finally:
            self._writer = None
            writer.transport.abort()

    async def _answer(self, line: bytes) -> None:
        """Send an answer back to the sender of its message. Raises Violation."""
        reply = from_daemon(line)
        if not isinstance(reply, Reply):
            raise Violation("it is not for this source")
        held = self._holding.take(reply.number)
        if held is None:
            return
        try:
            await held.reply_to.respond(reply.message)
        except (Error, OSError) as error:
            self._log_change(f"an answer was lost: {error}")

    def _deliver(self, held: Held) -> None:
        self._send(Deliver(held.number, held.message))

    def _send(self, message: FromSource) -> None:
        """Send it, if the daemon is connected. A daemon that does not read is disconnected."""
        if self._writer is None:
            return
        self._writer.write(encode(message))
        if self._writer.transport.get_write_buffer_size() > FLEET.backlog_bytes:
            self._log_change("the daemon does not read its messages")
            self._writer.transport.abort()

    def _log_change(self, words: str) -> None:
        if words != self._last_logged:
            self._last_logged = words
            log.warning("%s", words)


def _addresses(client: Client) -> Sequence[str]:
    """This host's address on the connection to the bus: others may reach it there."""
    transport: Any = getattr(client, "_transport", None)
    writer = getattr(transport, "_io_writer", None)
    sock: Optional[socket.socket] = writer.get_extra_info("socket") if writer is not None else None
    if sock is None:
        return ()
    return (str(sock.getsockname()[0]).partition("%")[0],)
