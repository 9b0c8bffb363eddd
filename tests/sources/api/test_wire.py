"""agent/sources/api/wire.py: HTTP/1.1 on bytes, strict and bounded."""

from __future__ import annotations

import contextlib
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.limits import LIMITS
from agent.sources.api.errors import ApiError, BadRequest, PayloadTooLarge
from agent.sources.api.http_tls import SecureWire
from agent.sources.api.message import Response
from agent.sources.api.wire import Message, Wire
from tests.sources.api.far_end import contexts

OK = Response(200, {"Success": True}, (("x-amzn-RequestId", "id"),))
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
PLAIN = HEAD + b"Content-Length: 2\r\n\r\n{}"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def message(data: bytes, step: int = 0) -> Optional[Message]:
    """The message that a wire reads from these bytes, all at once or `step` bytes at a time."""
    wire = Wire()
    while data:
        size = min(step or len(data), wire.room)
        wire.feed(data[:size])
        data = data[size:]
        if wire.ready:
            got = wire.next_message()
            if got is not None:
                return got
    return None


def state(wire: Wire) -> tuple[bool, bool]:
    """Whether a request has begun, and whether an answer is owed."""
    return wire.begun, wire.owes_answer


@pytest.mark.parametrize("step", [0, 1, 7])
def test_a_request_is_the_same_in_any_pieces(step: int) -> None:
    """A request is read the same however its bytes are split."""
    raw = (
        b"POST /b%2f/?A=%41 HTTP/1.1\r\nHost: a:1\r\nX-Two:  b\t c \r\nContent-Length: 2\r\n\r\n{}"
    )
    got = message(raw, step)
    assert got is not None
    assert (got.head.method, got.head.target, got.body) == (b"POST", b"/b%2f/?A=%41", b"{}")
    assert got.head.headers == (
        (b"host", b"a:1"), (b"x-two", b"b\t c"), (b"content-length", b"2"),
    )  # fmt: skip


def test_a_request_without_a_length_has_no_body() -> None:
    """A request without Content-Length has an empty body."""
    got = message(HEAD + b"\r\n")
    assert got is not None
    assert got.body == b""


@pytest.mark.parametrize("cut", [1, 10, len(PLAIN) - 4, len(PLAIN) - 1])
def test_a_request_that_is_not_whole_waits_for_the_rest(cut: int) -> None:
    """An incomplete request counts as begun, and is returned once the rest has arrived."""
    wire = Wire()
    assert state(wire) == (False, False)
    wire.feed(PLAIN[:cut])
    assert state(wire) == (True, True)
    assert wire.next_message() is None
    wire.feed(PLAIN[cut:])
    assert wire.ready
    assert wire.next_message() is not None


@pytest.mark.parametrize(
    "rest",
    [
        b"/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"/ HTTP/1.1\r\n\r\n",
        b"/ HTTP/1.1\nHost: a\r\n\r\n",
        b"/ HTTP/1.1\r\nX-A : b\r\n\r\n",
        b"/ HTTP/9\r\n\r\n",
        b"/ HTTP/1.1\r\nX: " + b"a" * LIMITS.head_bytes,
        b"/ HTTP/1.1\r\nHo",
    ],
    ids=["good", "no host", "bare line feed", "space", "no HTTP", "long", "cut off"],
)
@pytest.mark.parametrize("before", [b"", PLAIN], ids=["first", "second"])
def test_an_answer_to_head_has_headers_only(before: bytes, rest: bytes) -> None:
    """The answer to a HEAD request has no body, whether its head can be parsed or not."""
    for method, ends in ((b"HEAD ", True), (b"HEAL ", False), (b"GET ", False)):
        wire = Wire()
        data = before + method + rest
        if before:
            wire.feed(before)
            assert wire.next_message() is not None
            wire.send(OK)
            wire.go_on()
            data = data[len(before) :]
        wire.feed(data[: wire.room])
        with contextlib.suppress(ApiError):
            wire.next_message()
        assert wire.send(OK, close=True).endswith(b"\r\n\r\n") == ends


def test_pipelined_requests_come_one_after_the_other() -> None:
    """A pipelined request is returned only after the previous one has been answered."""
    wire = Wire()
    wire.feed(PLAIN + PLAIN.replace(b"{}", b"[]") + HEAD + b"\r\n" + PLAIN[:9])
    for body in (b"{}", b"[]", b""):
        got = wire.next_message()
        assert got is not None
        assert got.body == body
        assert wire.send(OK).startswith(b"HTTP/1.1 200")
        assert wire.keeps_alive
        wire.go_on()
    assert wire.begun
    assert wire.next_message() is None


def test_no_more_is_taken_in_advance_than_the_longest_head() -> None:
    """Data sent ahead is taken up to the longest head, and not one byte more."""
    wire = Wire()
    wire.feed(PLAIN)
    assert wire.next_message() is not None
    assert wire.room == LIMITS.head_bytes + 1
    wire.feed(b"a" * LIMITS.head_bytes)
    assert wire.room == 1
    with pytest.raises(ValueError, match="room for 1"):
        wire.feed(b"aa")
    wire.feed(b"a")
    assert wire.room == 0


def test_http_1_0_and_close_end_the_connection() -> None:
    """HTTP/1.0 and `Connection: close` end the connection, and the answer says so."""
    for raw in (
        PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"),
        PLAIN.replace(b"Host", b"Connection: close\r\nHost"),
        PLAIN.replace(b"Host", b"Connection: keep-alive , CLOSE\r\nHost"),
    ):
        wire = Wire()
        wire.feed(raw)
        assert wire.next_message() is not None
        assert b"connection: close" in wire.send(OK).lower()
        assert not wire.keeps_alive


def test_a_client_that_expects_100_continue_gets_it() -> None:
    """An expected 100 Continue is sent once; a body that is too large is refused instead."""
    wire = Wire()
    wire.feed(HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    asked = [wire.wants_continue]
    assert wire.next_message() is None
    asked.append(wire.wants_continue)
    assert wire.send_continue() == b"HTTP/1.1 100 Continue\r\n\r\n"
    asked.append(wire.wants_continue)
    assert asked == [False, True, False]
    wire.feed(b"{}")
    assert wire.next_message() is not None
    with pytest.raises(PayloadTooLarge):
        message(HEAD + b"Expect: 100-continue\r\nContent-Length: 99999\r\n\r\n")


def test_an_answer_is_written_as_the_reference_has_it() -> None:
    """An answer has status, the reference's content type, length, headers and JSON."""
    wire = Wire()
    wire.feed(PLAIN)
    wire.next_message()
    assert wire.send(OK, close=True) == (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: 17\r\n"
        b'x-amzn-RequestId: id\r\nConnection: close\r\n\r\n{"Success": true}'
    )
    assert not wire.keeps_alive


@pytest.mark.parametrize("value", ["id\r\nX-Other: 1", "id\nX-Other: 1", "\0", "\u00e9"])
def test_no_header_of_an_answer_begins_another_line(value: str) -> None:
    """A header's value with a line's end, or anything that is not printable ASCII, is not sent."""
    wire = Wire()
    wire.feed(PLAIN)
    wire.next_message()
    with pytest.raises(ValueError, match="no header may have"):
        wire.send(Response(200, {}, (("x-amzn-RequestId", value),)))


def test_a_request_is_returned_once() -> None:
    """While a request's answer is owed, it is not returned again, nor is the next one."""
    wire = Wire()
    wire.feed(PLAIN + PLAIN)
    assert wire.next_message() is not None
    assert wire.next_message() is None
    assert not wire.keeps_alive


@pytest.mark.parametrize(
    "raw", [HEAD.replace(b"POST", b"HEAD") + b"\r\n", b"HEAD / HTTP/1.1\r\nHost:\r\n\r\n"]
)
def test_the_answer_to_head_has_no_body(raw: bytes) -> None:
    """An answer to HEAD has no body, even if the request is refused."""
    wire = Wire()
    wire.feed(raw)
    try:
        wire.next_message()
    except BadRequest:
        pass
    assert wire.send(OK, close=True).endswith(b"\r\n\r\n")


@pytest.mark.parametrize("status", [200, 400])
def test_no_other_protocol_is_spoken(status: int) -> None:
    """A request to upgrade the protocol is answered as an ordinary HTTP/1.1 request."""
    wire = Wire()
    wire.feed(HEAD + b"Upgrade: h2c\r\n\r\n")
    assert wire.next_message() is not None
    assert wire.send(Response(status, {})).startswith(b"HTTP/1.1 %d" % status)
    assert wire.keeps_alive


def test_an_answer_is_owed_until_it_is_sent() -> None:
    """An answer is owed from a request's first byte until it has been sent."""
    wire = Wire()
    states = [state(wire)]
    wire.feed(PLAIN[:5])
    states.append(state(wire))
    wire.feed(PLAIN[5:])
    wire.next_message()
    states.append(state(wire))
    wire.send(OK)
    states.append(state(wire))
    wire.go_on()
    states.append(state(wire))
    owes, sent, idle = (True, True), (True, False), (False, False)
    assert states == [idle, owes, owes, sent, idle]


_BYTES = st.one_of(
    st.binary(max_size=80),
    st.lists(
        st.sampled_from([
            b"POST / HTTP/1.1\r\n", b"HEAD / HTTP/1.0\r\n", b"Host: a\r\n",
            b"Content-Length: 2\r\n", b"Transfer-Encoding: chunked\r\n",
            b"Expect: 100-continue\r\n", b"\r\n", b"{}",
            b"2\r\n{}\r\n", b"0\r\n\r\n", b"\n", b" ", b"\0", b"Connection: close\r\n",
        ]),
        max_size=10,
    ).map(b"".join),
)  # fmt: skip


@given(_BYTES, st.integers(1, 30))
def test_any_bytes_are_read_or_refused(data: bytes, step: int) -> None:
    """Any bytes, in any pieces, yield the same requests or the same refusal."""

    def course(step: int) -> list[object]:
        wire, seen = Wire(), list[object]()
        for start in range(0, len(data), step):
            wire.feed(data[start : start + step])
            try:
                while wire.ready:
                    got = wire.next_message()
                    if got is None:
                        break
                    seen.append((got.head.method, got.body))
                    assert wire.send(OK)
                    if not wire.keeps_alive:
                        return seen
                    wire.go_on()
            except ApiError as error:
                assert wire.send(Response(error.status, {}), close=True)
                return [*seen, error.code]
        return seen

    assert course(step) == course(max(1, len(data)))


def test_encrypted_bytes_beyond_the_room_are_not_kept() -> None:
    """A secure wire takes no more encrypted bytes than it has room for."""
    wire = SecureWire(contexts()[0])
    wire.feed(b"\x16" * wire.room)
    assert wire.room == 0
    with pytest.raises(ValueError, match="room for 0"):
        wire.feed(b"a")
