"""Accepts HTTP connections, limits their number, and ends them.

A plain limit would lock honest clients out: an attacker could hold all places. So when all places,
or all of one source, are taken, the connection that has waited longest for its request to arrive is
dropped.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import ssl
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Callable, Optional

from agent.config.limits import LIMITS
from agent.host.peercred import peer_uid
from agent.host.turnstile import Turnstile
from agent.sources.api.errors import ApiError, ServiceUnavailable
from agent.sources.api.http import Connection
from agent.sources.api.http_tls import SecureWire
from agent.sources.api.message import LOCAL, Peer, Request, Response, one_source, refusal
from agent.sources.api.wire import Wire
from agent.sources.request_id import new_request_id

log = logging.getLogger("sixtykeyd")


@dataclass(eq=False)
class _Place:
    source: str
    connection: Connection
    starting: Optional[asyncio.Task[Any]]


class HttpServer:
    """Serves one listening socket, TCP or Unix.

    `answer` answers requests; `refused` counts the error codes of refusals before there is a
    request; `tls` encrypts every connection, and is replaced by `renew_tls`.
    """

    def __init__(
        self,
        answer: Callable[[Request], Awaitable[Response]],
        refused: Callable[[str], None],
        tls: Optional[ssl.SSLContext] = None,
    ) -> None:
        self._answer = answer
        self._refused = refused
        self._tls = tls
        self.parsing = Turnstile()
        self.shaking = asyncio.Lock()
        # Keyed by connection, which does not refer back to its place: avoids a reference cycle.
        self._places: dict[Connection, _Place] = {}
        # Connections with an unfinished handshake, the longest idle first.
        self._shaking: dict[Connection, None] = {}
        self._crowded = False
        self._accepting: Optional[asyncio.Task[None]] = None
        self._listener: Optional[socket.socket] = None

    def start(self, listener: socket.socket) -> None:
        """Accept from `listener` until `stop`."""
        self._listener = listener
        listener.setblocking(False)
        if listener.family != socket.AF_UNIX:
            # Inherited by every connection: an answer must not wait until the client has
            # acknowledged the one before (asyncio does this only if the socket names its protocol).
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                listener.setsockopt(socket.SOL_SOCKET, buffer, LIMITS.kernel_bytes)
        listener.listen(LIMITS.backlog)
        self._accepting = asyncio.get_running_loop().create_task(self._accept(listener))

    def renew_tls(self, context: ssl.SSLContext) -> None:
        """Use this context for new connections, and close the others.

        The old client CA may have been removed. A request in progress gets its answer first.
        """
        self._tls = context
        for place in list(self._places.values()):
            error = ServiceUnavailable("The TLS files were reloaded. Try again.")
            if place.connection.busy:
                place.connection.retire()
            else:
                self._drop(place, error)

    async def stop(self) -> None:
        """Stop accepting, let requests in progress be answered, and close."""
        if self._accepting is not None and self._listener is not None:
            self._accepting.cancel()
            self._listener.close()
        deadline = asyncio.get_running_loop().time() + LIMITS.drain_seconds
        while self._places and asyncio.get_running_loop().time() < deadline:
            for place in [p for p in self._places.values() if not p.connection.busy]:
                self._drop(place, ServiceUnavailable("The service is stopping. Try again."))
            await asyncio.sleep(LIMITS.drain_poll_seconds)
        for connection in self._places:
            connection.abort()

    # Called by the connections (http.Handler).

    async def answer(self, request: Request) -> Response:
        """The response to a complete request."""
        return await self._answer(request)

    def refuse(self, error: ApiError) -> Response:
        """The response to bytes that were no valid request."""
        self._refused(error.code)
        return refusal(error, new_request_id())

    def count_failed_handshake(self) -> None:
        """Count a connection that ended before its TLS handshake was completed."""
        self._refused("HandshakeFailed")

    def step_handshake(self, connection: Connection) -> None:
        """Bound the number of unfinished handshakes: the longest idle one is dropped."""
        self._shaking.pop(connection, None)
        if len(self._shaking) >= LIMITS.handshakes:
            idle = (each for each in self._shaking if each.idle)
            oldest = next(idle, next(iter(self._shaking)))
            self._crowded = True
            self.end_handshake(oldest)
            oldest.drop(ServiceUnavailable("Too many TLS handshakes. Try again."))
        self._shaking[connection] = None

    def end_handshake(self, connection: Connection) -> None:
        """Note that the connection's handshake is over."""
        self._shaking.pop(connection, None)

    # Places.

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(listener)
            except ConnectionError:
                continue  # The client had left before it was accepted.
            except OSError as error:
                # No descriptor or memory left (accept(2)): make room. Linux allocates a descriptor
                # before it looks for a connection, so there may be no connection to accept.
                if _is_waited_for(listener):
                    log.warning("cannot accept a connection: %s", error)
                    self._make_room(None)
                await asyncio.sleep(LIMITS.accept_retry_seconds)
                continue
            # With the address from accept(): a client that left has none, but may have sent a
            # request.
            self._admit(sock, address)
            # After each connection, let other tasks run.
            await asyncio.sleep(0)

    def _admit(self, sock: socket.socket, address: Any) -> None:
        peer, source = _who(sock, address)
        mine = sum(place.source == source for place in self._places.values())
        if (mine >= LIMITS.connections_per_source and not self._make_room(source)) or (
            len(self._places) >= LIMITS.connections and not self._make_room(None)
        ):
            sock.close()
            return
        wire = Wire() if self._tls is None else SecureWire(self._tls)
        connection = Connection(self, peer, wire, self._leave)
        loop = asyncio.get_running_loop()
        starting = loop.create_task(loop.connect_accepted_socket(lambda: connection, sock))
        place = self._places[connection] = _Place(source, connection, starting)
        self._crowded = self._crowded or len(self._places) > LIMITS.connections_per_source

        def finish_start(task: asyncio.Task[Any]) -> None:
            place.starting = None
            if task.cancelled() or task.exception():
                sock.close()
                self._leave(connection)

        starting.add_done_callback(finish_start)

    def crowd_has_gone(self) -> bool:
        """Whether there were many connections since the last call, and are few now."""
        gone = self._crowded and len(self._places) < LIMITS.connections_per_source // 2
        self._crowded = self._crowded and not gone
        return gone

    def _make_room(self, source: Optional[str]) -> bool:
        """Drop the connection of `source`, or of all, that has waited longest; whether one was."""
        waiting = [
            place
            for place in self._places.values()
            if not place.connection.busy and source in (None, place.source)
        ]
        if not waiting:
            return False
        self._crowded = True
        oldest = min(waiting, key=lambda place: place.connection.waiting_since)
        self._drop(oldest, ServiceUnavailable("Too many connections. Try again."))
        return True

    def _drop(self, place: _Place, error: ApiError) -> None:
        if place.starting is None or not place.starting.cancel():
            place.connection.drop(error)
        self._leave(place.connection)

    def _leave(self, connection: Connection) -> None:
        self._places.pop(connection, None)


def _who(sock: socket.socket, address: Any) -> tuple[Peer, str]:
    """The peer, and what counts as its source: a local user, or an address (IPv6: its /64)."""
    if sock.family == socket.AF_UNIX:
        uid = peer_uid(sock)
        return Peer(LOCAL, uid=uid), f"uid:{uid}"
    return Peer(address[0]), one_source(address[0])


def _is_waited_for(listener: socket.socket) -> bool:
    """Whether a connection is waiting to be accepted."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))
