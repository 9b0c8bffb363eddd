"""A permanent connection to the bus: reconnects when it breaks, stalls, or its token ends.

nats-py's own reconnection is off: it waits 2 s without jitter, gives up when the server reports an
expired token, and can lose its reading task while it still claims to be connected. Here each
connection is a new client, which reads the credentials again and is monitored.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable
from typing import Any, Callable, Optional

from nats.aio.client import Client
from nats.errors import Error

from agent.config.fleet_limits import FLEET
from agent.fleet.bus import nats_client
from agent.fleet.bus.access import Access
from agent.fleet.bus.guarded_client import GuardedClient
from agent.fleet.messages.fields import printable
from agent.host.bucket import Bucket

log = logging.getLogger("sixtykeyd")
# Prepares a new connection before it is used, for instance by subscribing.
Prepare = Callable[[Client], Awaitable[None]]


class BusConnection:
    """Keeps a connection to one of the servers, chosen at random each time.

    `name` is what the servers' own tools show. `inbox` is the prefix of the subjects for answers.
    """

    def __init__(
        self, access: Access, name: str, prepare: Optional[Prepare] = None, inbox: str = "_INBOX"
    ) -> None:
        self._access = access
        self._name = name
        self._prepare = prepare
        self._inbox = inbox
        self._server = ""
        self._lost = asyncio.Event()
        self.client: Optional[Client] = None
        """The connection, or None while there is none."""
        self.connected = asyncio.Event()
        """Set while there is a connection."""
        self.connections = 0
        """How many connections were made so far, including the present one."""

    def use(self, access: Access) -> None:
        """Use these servers from the next connection on; leave one that is not among them."""
        self._access = access
        if self._server not in access.servers:
            self._lost.set()

    async def run(self) -> None:
        """Connect and reconnect until cancelled."""
        failures = 0
        while True:
            for server in random.sample(self._access.servers, len(self._access.servers)):
                if server not in self._access.servers:
                    continue  # taken off the list meanwhile
                client = await self._connect(server, _patience(failures))
                if client is None:
                    continue
                failures = -1
                try:
                    if server in self._access.servers:
                        await self._hold(client)
                finally:
                    await nats_client.close(client)
                break
            failures += 1
            # After a connection that was lost: all clients of its server come back now.
            await asyncio.sleep(_pause(failures))

    async def _connect(self, server: str, seconds: float) -> Optional[Client]:
        """Connect to this server. Returns None when a step takes longer, or fails; logs why."""
        self._server, self._lost = server, asyncio.Event()
        client = GuardedClient()
        try:
            options = {**self._options(server, self._lost), "connect_timeout": seconds}
        except (OSError, ValueError) as error:
            log.warning("bus: the credentials cannot be used: %s", error)
            return None
        try:
            await asyncio.wait_for(client.connect(**options), 2 * seconds)
            if self._prepare is not None:
                await self._prepare(client)
            await client.flush(math.ceil(seconds))
            return client
        except (Error, OSError, ValueError, asyncio.TimeoutError) as error:
            words = str(error) or type(error).__name__
            log.warning("bus: %s: not connected: %s", server, printable(words))
            await nats_client.close(client)
            return None
        except asyncio.CancelledError:
            nats_client.drop(client)
            raise

    def _options(self, server: str, lost: asyncio.Event) -> dict[str, Any]:
        """Options for nats-py, without its own reconnection. Raises OSError and ValueError."""

        async def close() -> None:
            lost.set()

        loop = asyncio.get_running_loop()
        room = Bucket.full(FLEET.errors_per_second, FLEET.errors, loop.time())

        async def fail(error: Exception) -> None:
            # A server that was taken over can cause an error with every message.
            if room.wait(loop.time()) == 0.0:
                room.take()
                log.warning("bus: %s: %s", server, printable(str(error)))

        return {
            **nats_client.options(self._access),
            "servers": [server],
            "name": self._name,
            "inbox_prefix": self._inbox,
            "allow_reconnect": False,
            "max_reconnect_attempts": 1,
            "reconnect_time_wait": 0,
            "ping_interval": int(FLEET.ping_seconds),
            "max_outstanding_pings": 2,
            "closed_cb": close,
            "error_cb": fail,
        }

    async def _hold(self, client: Client) -> None:
        """Wait until the connection is lost, or does not answer."""
        self.client, self.connections = client, self.connections + 1
        self.connected.set()
        log.info(
            "bus: connected to %s", client.connected_url.netloc if client.connected_url else ""
        )
        try:
            while not self._lost.is_set() and await _is_alive(client):
                try:
                    await asyncio.wait_for(self._lost.wait(), FLEET.watch_seconds)
                except asyncio.TimeoutError:
                    pass
        finally:
            self.client = None
            self.connected.clear()
        log.warning("bus: the connection is lost")


async def _is_alive(client: Client) -> bool:
    """Whether the server answers and its messages are read."""
    # With its reading task gone, nats-py's flush() succeeds without an answer.
    reading = getattr(client, "_reading_task", None)
    if reading is None or reading.done() or client.is_closed:
        return False
    try:
        await client.flush(math.ceil(FLEET.connect_seconds))
    except (Error, OSError, asyncio.TimeoutError):
        return False
    return True


def _patience(failures: int) -> float:
    """Seconds for each step of a connection, after `failures` rounds without a server.

    When a whole fleet comes back at once, a slow server needs longer for each host. Hosts that gave
    up and began again would keep it from ever catching up.
    """
    return FLEET.connect_seconds * (1 << min(failures, FLEET.connect_doublings))


def _pause(failures: int) -> float:
    """The pause after `failures` rounds without a server, in seconds, with jitter."""
    if not failures:
        return random.uniform(0, FLEET.reconnect_seconds)  # noqa: S311
    longest = FLEET.pause_seconds
    if failures < 8:
        longest = min(FLEET.reconnect_seconds * (1 << failures), longest)
    return random.uniform(0.5, 1.0) * longest  # noqa: S311 - nobody gains by guessing it
