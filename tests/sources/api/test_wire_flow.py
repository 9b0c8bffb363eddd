"""Wire and SecureWire as state machines: whatever the order of calls, they hold little.

Nothing is lost or reordered, whatever a client sends ahead.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.config.limits import LIMITS
from agent.sources.api.http_tls import SecureWire
from agent.sources.api.message import Response
from agent.sources.api.wire import Wire
from tests.sources.api.far_end import LONGEST_BODY, LONGEST_FILLER, FarEnd, contexts

# The largest held at once: one head that is too long by a byte, and one body.
MOST = LIMITS.head_bytes + 1 + LIMITS.body_bytes
# And the record that OpenSSL is reading (RFC 8446 section 5.2), and the last read.
MOST_ENCRYPTED = MOST + 16 * 1024 + 256 + 4 * 1024


class PlainFlow(RuleBasedStateMachine):
    """A client that sends ahead, with a wire between it and its answers."""

    secure = False
    most = MOST

    def __init__(self) -> None:
        super().__init__()
        self.wire = SecureWire(contexts()[0]) if self.secure else Wire()
        self.client = FarEnd(secure=self.secure)
        self.asked = self.taken = self.answered = 0
        self.ended = False

    @precondition(lambda self: not self.ended)
    @rule(
        sizes=st.lists(st.sampled_from([6, 7, 900, LONGEST_BODY]), min_size=1, max_size=40),
        filler=st.sampled_from([0, 1, 700, LONGEST_FILLER]),
    )
    def send(self, sizes: list[int], filler: int) -> None:
        """The client prepares requests."""
        for size in sizes:
            self.client.request(self.asked, size, filler)
            self.asked += 1

    @precondition(lambda self: not self.ended and self.client.has_said_all)
    @rule()
    def finish(self) -> None:
        """The client closes its sending side."""
        self.client.finish()
        self.ended = True

    @rule(size=st.sampled_from([1, 3, 100, 4096, 16384]))
    def arrive(self, size: int) -> None:
        """Up to `size` bytes arrive, as far as there is room."""
        part = bytes(self.client.sending[: min(size, self.wire.room)])
        del self.client.sending[: len(part)]
        self.wire.feed(part)
        if isinstance(self.wire, SecureWire) and not self.wire.greeted:
            self.client.hear(self.wire.shake_hands())

    @rule()
    def arrive_all(self) -> None:
        """All arrives that there is room for, as from a fast client."""
        for _ in range(100):
            self.arrive(16384)

    @precondition(lambda self: self.taken == self.answered and self.wire.ready)
    @rule()
    def take(self) -> None:
        """The next request is taken if it is complete, and is the one sent next."""
        message = self.wire.next_message()
        if message is None:
            assert self.wire.room > 0
            return
        assert int(message.body[:6]) == self.taken
        self.taken += 1

    @precondition(lambda self: self.taken > self.answered)
    @rule()
    def answer(self) -> None:
        """The request is answered, and the next one may follow."""
        self.client.hear(self.wire.send(Response(200, {}, text=str(self.answered))))
        assert self.client.answers() == [self.answered]
        self.answered += 1
        assert self.wire.keeps_alive
        self.wire.go_on()

    @invariant()
    def little_is_held(self) -> None:
        """At most one head, one body and, if encrypted, one record are held."""
        assert held(self.wire) <= self.most

    @invariant()
    def nobody_waits_for_the_other(self) -> None:
        """There is always room to read, a request to take, or an answer to send."""
        assert self.wire.room or self.wire.ready or self.taken > self.answered

    def teardown(self) -> None:
        """Every request has been taken and answered, in order."""
        rounds = 0
        while self.client.sending or self.taken > self.answered or self.wire.ready:
            self.arrive(4096)
            if self.taken == self.answered and self.wire.ready:
                self.take()
            if self.taken > self.answered:
                self.answer()
            rounds += 1
            assert rounds < 100_000, "nothing goes on"
        assert self.answered == self.asked


def held(wire: Wire) -> int:
    """The number of request bytes that a wire holds in its own buffers, and in OpenSSL's."""
    buffers = [wire._inbox, wire._body]
    total = sum(map(len, buffers))
    if isinstance(wire, SecureWire):
        total += wire._incoming.pending + wire._outgoing.pending
        total += 0 if wire._end is None else wire._end.pending()
    return total


class SecureFlow(PlainFlow):
    """The same over TLS."""

    secure = True
    most = MOST_ENCRYPTED


TestPlainFlow = PlainFlow.TestCase
TestSecureFlow = SecureFlow.TestCase
