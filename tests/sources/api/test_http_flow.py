"""A connection as a state machine, over a real socket: it holds little, whatever its client does.

The client sends ahead, and reads or does not read; the answers come late. Nothing is lost or
reordered.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.host.turnstile import Turnstile
from agent.sources.api.errors import ApiError
from agent.sources.api.http import Connection
from agent.sources.api.http_tls import SecureWire
from agent.sources.api.message import Peer, Request, Response
from agent.sources.api.wire import Wire
from tests.sources.api.far_end import LONGEST_BODY, LONGEST_FILLER, FarEnd, contexts
from tests.sources.api.test_wire_flow import MOST, MOST_ENCRYPTED, held

# The length of an answer: far more than the kernel buffers for a client that does not read.
ANSWER = 20_000


class _Desk:
    """A handler that answers requests in order, up to the number allowed (http.Handler)."""

    def __init__(self) -> None:
        self.parsing, self.shaking = Turnstile(), asyncio.Lock()
        self.allowed = asyncio.Semaphore(0)
        self.asked: list[int] = []

    async def answer(self, request: Request) -> Response:
        """Answer with the number in the request, once that is allowed."""
        self.asked.append(int(request.body[:6]))
        await self.allowed.acquire()
        return Response(200, {}, text=str(self.asked[-1]).ljust(ANSWER))

    def refuse(self, error: ApiError) -> Response:
        """Fail the test: no request here is refused."""
        raise AssertionError(error)

    def step_handshake(self, connection: Connection) -> None:
        """Do nothing: with a single connection, no other has to give way."""

    def end_handshake(self, connection: Connection) -> None:
        """Do nothing."""

    def count_failed_handshake(self) -> None:
        """Do nothing: a client may leave before its handshake."""


class PlainConnection(RuleBasedStateMachine):
    """A client at one end of a socket pair, and a connection at the other."""

    secure = False
    most = MOST

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.loop.set_debug(False)  # debug mode looks up the source of every step
        self.client = FarEnd(secure=self.secure)
        self.sent = 0
        self.answered: list[int] = []
        self.run(self.connect())

    async def connect(self) -> None:
        """Open the socket pair."""
        self.desk = _Desk()
        self.wire = SecureWire(contexts()[0]) if self.secure else Wire()
        self.connection = Connection(self.desk, Peer("a"), self.wire, lambda _: None)
        self.socket, theirs = socket.socketpair()
        self.socket.setblocking(False)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        await self.loop.connect_accepted_socket(lambda: self.connection, theirs)

    def run(self, work: Any) -> None:
        """Run this, and then whatever it makes the connection do."""

        async def settle() -> None:
            await work
            for _ in range(10):
                await asyncio.sleep(0)

        self.loop.run_until_complete(settle())

    @rule(
        sizes=st.lists(st.sampled_from([6, 900, LONGEST_BODY]), min_size=1, max_size=10),
        filler=st.sampled_from([0, 700, LONGEST_FILLER]),
    )
    def ask(self, sizes: list[int], filler: int) -> None:
        """The client prepares requests to send."""
        for size in sizes:
            self.client.request(self.sent, size, filler)
            self.sent += 1

    @rule(size=st.sampled_from([1, 100, 5000, 1_000_000]))
    def send(self, size: int) -> None:
        """The client sends what the kernel takes of them, up to `size` bytes."""

        async def sending() -> None:
            with contextlib.suppress(BlockingIOError):
                taken = self.socket.send(self.client.sending[:size])
                del self.client.sending[:taken]

        self.run(sending())

    @rule(size=st.sampled_from([1, 5000, 1_000_000]))
    def read(self, size: int) -> None:
        """The client reads up to `size` bytes of its answers."""

        async def reading() -> None:
            with contextlib.suppress(BlockingIOError):
                self.client.hear(self.socket.recv(size))
                self.answered += self.client.answers()

        self.run(reading())

    @precondition(lambda self: self.desk.allowed._value < 100)
    @rule(count=st.integers(1, 5))
    def answer(self, count: int) -> None:
        """The handler may answer `count` more requests."""

        async def allowing() -> None:
            for _ in range(count):
                self.desk.allowed.release()

        self.run(allowing())

    @invariant()
    def little_is_held(self) -> None:
        """At most one head, one body and one answer are buffered; the rest waits in the kernel."""
        assert self.connection._transport is not None, "it was closed"
        unread = self.connection._transport.get_write_buffer_size()
        assert held(self.wire) <= self.most
        assert unread <= ANSWER + 1000

    @invariant()
    def all_is_in_order(self) -> None:
        """Requests are handled and answered once each, in order."""
        assert self.desk.asked == list(range(len(self.desk.asked)))
        assert self.answered == list(range(len(self.answered)))

    def teardown(self) -> None:
        """Every request is answered when the client reads and the handler answers."""
        rounds = 0
        try:
            while len(self.answered) < self.sent and rounds < 10_000:
                self.send(1_000_000)
                self.read(1_000_000)
                self.answer(1)
                rounds += 1
            self.all_is_in_order()
            assert len(self.answered) == self.sent
        finally:
            self.socket.close()
            self.run(asyncio.sleep(0))
            self.loop.close()
        assert self.connection._transport is None


class SecureConnection(PlainConnection):
    """The same over TLS."""

    secure = True
    most = MOST_ENCRYPTED


TestPlainConnection = PlainConnection.TestCase
TestSecureConnection = SecureConnection.TestCase
TestPlainConnection.settings = TestSecureConnection.settings = settings(
    max_examples=30, stateful_step_count=30
)
