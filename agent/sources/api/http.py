"""One HTTP connection: reading, deadlines, and the order of requests and answers.

A request has ten seconds from its first byte to its last, and a connection may be idle for thirty.
Bytes are read while there is room for them, and the next request is parsed after the previous
answer has been sent; all else waits in the kernel. So a connection holds at most one head, one body
and one answer. wire.py parses the bytes, door.py answers the request, http_server.py limits the
connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Callable, Optional, Protocol

from agent.config.limits import LIMITS
from agent.host.turnstile import Turnstile
from agent.sources.api.errors import ApiError, RequestTimeout
from agent.sources.api.http_tls import SecureWire
from agent.sources.api.message import Peer, Request, Response
from agent.sources.api.wire import Message, Wire

# The buffer for reading, shared by all connections: its content is copied immediately.
_BUFFER = memoryview(bytearray(16 * 1024))


class Handler(Protocol):
    """What a connection needs from the server.

    A request is parsed after entering `parsing`, a step of a handshake is taken holding `shaking`:
    at most one of each in a turn of the event loop. Lookups run in every turn.
    """

    parsing: Turnstile
    shaking: asyncio.Lock

    async def answer(self, request: Request) -> Response:
        """The response to a complete request; never raises."""

    def refuse(self, error: ApiError) -> Response:
        """The response to bytes that were no valid request."""

    def count_failed_handshake(self) -> None:
        """Count a connection that ended before its TLS handshake was completed."""

    def step_handshake(self, connection: Connection) -> None:
        """Note that a connection begins a handshake step; another one may be dropped for it."""

    def end_handshake(self, connection: Connection) -> None:
        """Note that the connection's handshake is over."""


class Connection(asyncio.BufferedProtocol):
    """One client. While `busy`, it is answering a complete request and must not be dropped.

    `peer` is the accepted client; with a SecureWire the TLS handshake comes first.
    """

    def __init__(
        self,
        handler: Handler,
        peer: Peer,
        wire: Wire,
        lost: Callable[[Connection], None],
    ) -> None:
        self._handler = handler
        self._peer = peer
        self._wire = wire
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: Optional[asyncio.Transport] = None
        self._task: Optional[asyncio.Task[None]] = None
        # The deadline (loop.time), what is called then, and the timer that looks at them.
        self._deadline: Optional[float] = None
        self._then: Optional[Callable[[], None]] = None
        self._timer: Optional[asyncio.TimerHandle] = None
        self._changed = asyncio.Event()
        self._writable = asyncio.Event()
        self._ended = False
        self._idle = False
        self._lingers = False
        self._retired = False
        self.busy = False
        self.waiting_since = self._loop.time()

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what asyncio promises
        self._transport = transport
        # pause_writing is called as soon as one byte is unread by the client.
        transport.set_write_buffer_limits(0)
        self._writable.set()
        # The first request's time starts when the connection is accepted.
        spent = self._loop.time() - self.waiting_since
        self._limit(LIMITS.request_seconds - spent)
        self._task = self._loop.create_task(self._run(transport))

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """The buffer for the next read, no larger than the room for it."""
        return _BUFFER if self._lingers else _BUFFER[: self._wire.room]

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have arrived."""
        transport = self._transport
        if transport is None or self._wire.ended or self._lingers:
            return
        self._wire.feed(bytes(_BUFFER[:nbytes]))
        if self._idle and self._wire.begun:
            self._idle = False
            self._limit(LIMITS.request_seconds)
        if not self._wire.room:
            transport.pause_reading()
        self._changed.set()

    def eof_received(self) -> bool:
        """The client sends no more; it may still read its answers."""
        self._ended = True
        self._changed.set()
        return True

    def pause_writing(self) -> None:
        """The client is not reading its answer: its next request has to wait."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The client has read it."""
        self._writable.set()

    def connection_lost(self, exc: Optional[Exception]) -> None:  # noqa: ARG002
        """The connection is closed."""
        if isinstance(self._wire, SecureWire) and not self._wire.greeted:
            self._handler.count_failed_handshake()
        self._transport = None
        self._ended = True
        self._limit(None)
        self._set_timer(None)
        self._changed.set()
        self._writable.set()
        self._lost(self)

    # Called by the server.

    def drop(self, error: ApiError) -> None:
        """Close, and refuse a request that has begun to arrive."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            if self._wire.owes_answer:
                transport.write(self._wire.send(self._handler.refuse(error), close=True))
            self._close(transport)

    def retire(self) -> None:
        """Close after the answer to the current request."""
        self._retired = True

    def abort(self) -> None:
        """Close at once, without an answer."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def idle(self) -> bool:
        """Whether everything that arrived has been processed."""
        return not self._changed.is_set()

    # The connection's task.

    async def _run(self, transport: asyncio.Transport) -> None:
        try:
            if isinstance(self._wire, SecureWire):
                await self._shake_hands(transport, self._wire)
            while True:
                message = await self._receive(transport)
                if message is None or not await self._serve(transport, message):
                    break
        except ApiError as error:
            transport.write(self._wire.send(self._handler.refuse(error), close=True))
            await self._linger(transport)
        except ssl.SSLError:
            await self._linger(transport)  # the handshake failed; the client gets an alert
        finally:
            self._close(transport)

    async def _shake_hands(self, transport: asyncio.Transport, wire: SecureWire) -> None:
        """Take the handshake's steps, each in its turn. Raises ssl.SSLError."""
        try:
            while not wire.greeted and not self._is_over(transport):
                transport.resume_reading()
                await self._changed.wait()
                async with self._handler.shaking:
                    await asyncio.sleep(0)
                    self._changed.clear()
                    if not self._is_over(transport):
                        self._handler.step_handshake(self)
                        transport.write(wire.shake_hands())
        finally:
            self._handler.end_handshake(self)
        if wire.greeted:
            self._peer = wire.describe(self._peer)

    async def _receive(self, transport: asyncio.Transport) -> Optional[Message]:
        """The next complete request; None if there will be none. Raises ApiError to refuse."""
        while not transport.is_closing():
            self._changed.clear()
            if self._wire.ready:
                await self._handler.parsing.enter()
                if transport.is_closing():
                    return None
                message = self._wire.next_message()
                if message is not None:
                    return message
                if self._wire.wants_continue:
                    transport.write(self._wire.send_continue())
            if self._is_over(transport):
                return None
            transport.resume_reading()
            await self._changed.wait()
        return None

    async def _serve(self, transport: asyncio.Transport, message: Message) -> bool:
        """Answer a request; returns whether another may follow."""
        self.busy = True
        self._limit(None)
        head = message.head
        response = await self._handler.answer(
            Request(head.method, head.target, head.headers, message.body, self._peer)
        )
        self.busy = False
        self.waiting_since = self._loop.time()
        if transport.is_closing():
            return False
        transport.write(self._wire.send(response, close=self._retired))
        if not self._writable.is_set():
            self._limit(LIMITS.request_seconds, self.abort)
            await self._writable.wait()
        if transport.is_closing() or not self._wire.keeps_alive:
            return False
        self._wire.go_on()
        self._idle = not self._wire.begun
        late = LIMITS.idle_seconds if self._idle else LIMITS.request_seconds
        self._limit(late)
        return True

    async def _linger(self, transport: asyncio.Transport) -> None:
        """Read and discard for a moment before closing.

        To close with unread data resets the connection, and the client would not see the reason.
        """
        self._limit(LIMITS.linger_seconds, self.abort)
        transport.write(self._wire.end())
        self._lingers = True
        with contextlib.suppress(OSError):
            transport.write_eof()
        transport.resume_reading()
        while not self._ended and not self._wire.ended:
            self._changed.clear()
            await self._changed.wait()

    def _close(self, transport: asyncio.Transport) -> None:
        if not transport.is_closing():
            if not self._lingers:
                transport.write(self._wire.end())
            transport.close()
        if self._transport is not None:
            # Abort if the client neither reads nor closes.
            self._limit(LIMITS.linger_seconds, self.abort)
        self._changed.set()

    def _is_over(self, transport: asyncio.Transport) -> bool:
        """Whether no more bytes can arrive, or the connection is closing."""
        return self._ended or self._wire.ended or transport.is_closing()

    def _limit(self, seconds: Optional[float], then: Optional[Callable[[], None]] = None) -> None:
        """Replace the deadline; `then`, or else `_too_slow`, is called when it passes."""
        self._deadline = None if seconds is None else self._loop.time() + seconds
        self._then = then
        # A timer that is early enough stays, and looks again: most requests need none of their own.
        if self._deadline is not None and (
            self._timer is None or self._timer.when() > self._deadline
        ):
            self._set_timer(self._deadline)

    def _set_timer(self, when: Optional[float]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if when is None else self._loop.call_at(when, self._look_at_deadline)

    def _look_at_deadline(self) -> None:
        deadline = self._deadline
        if deadline is None or self._loop.time() < deadline:
            self._set_timer(deadline)
        else:
            self._timer = None
            (self._then or self._too_slow)()

    def _too_slow(self) -> None:
        self.drop(RequestTimeout())
