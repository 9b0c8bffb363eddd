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
import sys
import uuid
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Callable, Optional

from agent.config.limits import LIMITS
from agent.host.peercred import peer_uid
from agent.sources.api.errors import ApiError, ServiceUnavailable
from agent.sources.api.http import Connection
from agent.sources.api.message import Peer, Request, Response, one_source, refusal

log = logging.getLogger("sixtykeyd")


@dataclass(eq=False)
class _Place:
    source: str
    connection: Connection
    starting: Optional[asyncio.Task[None]] = None


class HttpServer:
    """Serves one listening socket, TCP or Unix.

    `answer` answers requests; `refused` is told the code of what was refused before it was one;
    `tls` may be replaced at any time, and counts for new connections.
    """

    def __init__(
        self,
        answer: Callable[[Request], Awaitable[Response]],
        refused: Callable[[str], None],
        tls: Optional[ssl.SSLContext] = None,
    ) -> None:
        self._answer = answer
        self._refused = refused
        self.tls = tls
        self.reading = asyncio.Lock()
        # By connection, which knows nothing of its place: no circle for the collector to find.
        self._places: dict[Connection, _Place] = {}
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
        listener.listen(LIMITS.backlog)
        self._accepting = asyncio.get_running_loop().create_task(self._accept(listener))

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

    def peer(self, transport: asyncio.BaseTransport, source: str) -> Peer:
        """Who is at the other end; `source` is the address that was accepted."""
        sock: socket.socket = transport.get_extra_info("socket")
        if sock.family == socket.AF_UNIX:
            return Peer(source, uid=peer_uid(sock))
        cipher = transport.get_extra_info("cipher")
        certificate: Optional[dict[str, Any]] = transport.get_extra_info("peercert")
        return Peer(
            source,
            tls=None if cipher is None else f"{cipher[1]} {cipher[0]}",
            certificate=_subject(certificate) if certificate else None,
            certificate_demanded=self.tls is not None and self.tls.verify_mode != ssl.CERT_NONE,
        )

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
            self._admit(sock, "unix" if sock.family == socket.AF_UNIX else address[0])
            # However many are waiting: after each one, everybody else has a turn.
            await asyncio.sleep(0)

    def _admit(self, sock: socket.socket, address: str) -> None:
        source = f"uid:{peer_uid(sock)}" if sock.family == socket.AF_UNIX else one_source(address)
        mine = sum(place.source == source for place in self._places.values())
        if (mine >= LIMITS.connections_per_source and not self._make_room(source)) or (
            len(self._places) >= LIMITS.connections and not self._make_room(None)
        ):
            sock.close()
            return
        connection = Connection(self, address, self._leave)
        place = self._places[connection] = _Place(source, connection)
        place.starting = asyncio.get_running_loop().create_task(self._start(sock, connection))
        # A task that is cancelled before its first step never gets to close anything itself.
        place.starting.add_done_callback(lambda task: sock.close() if task.cancelled() else None)

    async def _start(self, sock: socket.socket, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {}
        try:
            if self.tls is not None:
                # Whoever is silent costs a socket, and not the memory of a handshake.
                await asyncio.wait_for(_readable(sock), LIMITS.request_seconds)
                if not sock.recv(1, socket.MSG_PEEK):
                    raise ConnectionResetError
                left = connection.waiting_since + LIMITS.request_seconds - loop.time()
                options = {"ssl": self.tls, "ssl_handshake_timeout": max(left, 0.1)}
                if sys.version_info >= (3, 11):
                    options["ssl_shutdown_timeout"] = LIMITS.linger_seconds
            await loop.connect_accepted_socket(lambda: connection, sock, **options)
        except (OSError, asyncio.TimeoutError) as error:  # also a failed or late handshake
            self._refused(type(error).__name__)
            sock.close()
            self._leave(connection)
        finally:
            if connection in self._places:
                self._places[connection].starting = None

    def crowd_has_gone(self) -> bool:
        """Whether connections had to give way since this was last asked, and are few again."""
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
        if place.starting is not None:
            place.starting.cancel()
        else:
            place.connection.drop(error)
        self._leave(place.connection)

    def _leave(self, connection: Connection) -> None:
        self._places.pop(connection, None)


async def _readable(sock: socket.socket) -> None:
    """Wait until there is something to read, without reading it."""
    loop = asyncio.get_running_loop()
    something: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock, something.cancel)
    try:
        await asyncio.wait([something])
    finally:
        loop.remove_reader(sock)


def _is_waited_for(listener: socket.socket) -> bool:
    """Whether there is a connection to accept."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))


def _subject(certificate: dict[str, Any]) -> str:
    """The subject's attributes, as in CN=deploy,O=Example."""
    return ",".join(f"{name}={value}" for part in certificate["subject"] for name, value in part)
