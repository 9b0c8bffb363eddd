"""Which HTTP connections there may be: accepting them, bounding them, and letting them end.

A plain limit locks honest clients out: whoever holds all places keeps them. So when all are taken,
or all of one source, the connection that has waited longest for its request to arrive gives way.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import ssl
import uuid
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Callable, Optional

from agent.config.limits import LIMITS
from agent.host.peercred import peer_uid
from agent.sources.api.errors import ApiError, ServiceUnavailable
from agent.sources.api.http import Connection
from agent.sources.api.http_tls import SecureWire
from agent.sources.api.message import Peer, Request, Response, one_source, refusal
from agent.sources.api.wire import Wire

log = logging.getLogger("sixtykeyd")


@dataclass(eq=False)
class _Place:
    source: str
    connection: Connection
    starting: Optional[asyncio.Task[Any]]


class HttpServer:
    """Serves one listening socket, TCP or Unix.

    `answer` answers requests; `refused` is told the code of what was refused before it was one;
    `tls` encrypts every connection, and is replaced by `renew_tls`.
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
        self.parsing = asyncio.Lock()
        self.shaking = asyncio.Lock()
        # Keyed by connection, which has no reference back: avoids a cycle.
        self._places: dict[Connection, _Place] = {}
        # Those with an unfinished handshake; the one whose last step is longest ago comes first.
        self._shaking: dict[Connection, None] = {}
        self._crowded = False
        self._accepting: Optional[asyncio.Task[None]] = None
        self._listener: Optional[socket.socket] = None

    def start(self, listener: socket.socket) -> None:
        """Accept from `listener` until `stop`."""
        self._listener = listener
        listener.setblocking(False)
        if listener.family != socket.AF_UNIX:
            # For every connection: an answer that follows another must not wait until the client
            # has acknowledged that one (asyncio sees to it only where a socket names its protocol).
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                listener.setsockopt(socket.SOL_SOCKET, buffer, LIMITS.kernel_bytes)
        listener.listen(LIMITS.backlog)
        self._accepting = asyncio.get_running_loop().create_task(self._accept(listener))

    def renew_tls(self, context: ssl.SSLContext) -> None:
        """Encrypt new connections with this, and close the others.

        What let them in, such as a client CA, may no longer hold. A request that is being answered
        gets its answer first.
        """
        self._tls = context
        for place in list(self._places.values()):
            error = ServiceUnavailable("The TLS files were read anew. Try again.")
            if place.connection.busy:
                place.connection.retire()
            else:
                self._drop(place, error)

    async def stop(self) -> None:
        """Accept no more, let requests under way be answered, and close."""
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

    # What the connections ask (http.Handler).

    async def answer(self, request: Request) -> Response:
        """The response to a whole request."""
        return await self._answer(request)

    def refuse(self, error: ApiError) -> Response:
        """The response to what was no request."""
        self._refused(error.code)
        return refusal(error, str(uuid.uuid4()))

    def count_failed_handshake(self) -> None:
        """Note that a client came to the TLS listener, and no handshake was completed."""
        self._refused("HandshakeFailed")

    def step_handshake(self, connection: Connection) -> None:
        """Keep the number of unfinished handshakes bounded: whoever has been idle longest goes."""
        self._shaking.pop(connection, None)
        if len(self._shaking) >= LIMITS.handshakes:
            idle = (each for each in self._shaking if each.idle)
            oldest = next(idle, next(iter(self._shaking)))
            self._crowded = True
            self.end_handshake(oldest)
            oldest.drop(ServiceUnavailable("Too many TLS handshakes. Try again."))
        self._shaking[connection] = None

    def end_handshake(self, connection: Connection) -> None:
        """The connection has no unfinished handshake any more."""
        self._shaking.pop(connection, None)

    # Places.

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(listener)
            except ConnectionError:
                continue  # It was gone before it was accepted.
            except OSError as error:
                # No descriptor or no memory left (accept(2)): make room rather than give up. Linux
                # finds a descriptor before it looks for a connection, so there may be none.
                if _is_waited_for(listener):
                    log.warning("cannot accept a connection: %s", error)
                    self._make_room(None)
                await asyncio.sleep(LIMITS.accept_retry_seconds)
                continue
            # Noted now: a client that is gone has no address any more, and its request may be here.
            self._admit(sock, address)
            # However many are waiting: after each one, everybody else has a turn.
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

        def started(task: asyncio.Task[Any]) -> None:
            place.starting = None
            if task.cancelled() or task.exception():
                sock.close()
                self._leave(connection)

        starting.add_done_callback(started)

    def crowd_has_gone(self) -> bool:
        """Whether there were many connections since this was last asked, and are few again."""
        gone = self._crowded and len(self._places) < LIMITS.connections_per_source // 2
        self._crowded = self._crowded and not gone
        return gone

    def _make_room(self, source: Optional[str]) -> bool:
        """Drop the connection that has waited longest, of `source` or of all; whether one was."""
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
    """Who has connected, and what counts as one source: a user here, a network's share there."""
    if sock.family == socket.AF_UNIX:
        uid = peer_uid(sock)
        return Peer("unix", uid=uid), f"uid:{uid}"
    return Peer(address[0]), one_source(address[0])


def _is_waited_for(listener: socket.socket) -> bool:
    """Whether there is a connection to accept."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))
