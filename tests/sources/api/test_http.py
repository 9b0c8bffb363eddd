"""agent/sources/api/http.py: one connection and its deadlines, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest

from agent.sources.api.http import Connection
from agent.sources.api.message import Peer, Request, Response
from agent.sources.api.wire import Wire
from tests.parts.raw import Raw
from tests.sources.api.serving import PLAIN, Serving, short, yes


def drip(raw: Raw, data: bytes) -> int:
    """Send slowly, byte by byte, until the server closes; return the number of bytes sent."""
    for count in range(len(data)):
        try:
            raw.send(data[count : count + 1])
        except OSError:
            return count
        time.sleep(0.02)
    return len(data)


def test_requests_on_one_connection_are_answered_in_turn() -> None:
    """Requests on one connection are passed on as sent and answered one after the other."""
    with Serving() as serving, serving.connect() as raw:
        for body in (b"{}", b"[]"):
            assert raw.send(PLAIN.replace(b"{}", body)).answer().code == ""
        assert [request.body for request in serving.requests] == [b"{}", b"[]"]
        assert serving.requests[0].peer.source == "127.0.0.1"
        assert serving.requests[0].target == b"/"


def test_pipelined_requests_are_answered_in_order() -> None:
    """1500 pipelined requests are answered in the order in which they were sent."""

    async def number(request: Request) -> Response:
        await asyncio.sleep(0)
        return Response(200, {"body": request.body.decode()})

    bodies = [f"{each:06}" for each in range(1500)]
    with Serving(number) as serving, serving.connect() as raw:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n"
        raw.send(b"".join(head + body.encode() for body in bodies))
        assert [raw.answer().body["body"] for _ in bodies] == bodies


def test_a_silent_client_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that sends nothing is closed at its deadline without an answer."""
    short(monkeypatch)
    with Serving() as serving, serving.connect() as raw:
        assert raw.ends()


@pytest.mark.parametrize("after", [b"", PLAIN])
def test_a_dripping_client_is_refused_in_time(
    monkeypatch: pytest.MonkeyPatch, after: bytes
) -> None:
    """A request that does not arrive in time gets 408, whether it is the first or a later one."""
    short(monkeypatch)
    with Serving() as serving, serving.connect() as raw:
        if after:
            assert raw.send(after).answer().status == 200
        sent = drip(raw, b"POST / HTTP/1.1\r\nHost: " + b"a" * 1000)
        answer = raw.answer()
        assert (answer.status, answer.code, sent < 1000) == (408, "RequestTimeout", True)
        assert answer.headers["connection"] == "close"
        assert raw.ends()
        assert serving.refused == ["RequestTimeout"]


def test_empty_lines_do_not_extend_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that only sends line ends is refused at the deadline."""
    short(monkeypatch)
    with Serving() as serving, serving.connect() as raw:
        assert drip(raw, b"\r\n" * 500) < 1000
        assert raw.answer().status in (400, 408)


def test_a_body_that_does_not_arrive_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The request deadline includes the body."""
    short(monkeypatch)
    with Serving() as serving, serving.connect() as raw:
        raw.send(PLAIN[:-1])
        assert raw.answer().code == "RequestTimeout"
        assert serving.requests == []


def test_an_idle_client_is_closed_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle connection is closed after its timeout, without an error."""
    short(monkeypatch)
    with Serving() as serving, serving.connect() as raw:
        assert raw.send(PLAIN).answer().status == 200
        assert raw.ends()
        assert serving.refused == []


def test_the_next_request_has_its_whole_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request on an idle connection gets the full request deadline, not the idle time left."""
    short(monkeypatch, idle_seconds=0.2, request_seconds=20.0)
    with Serving() as serving, serving.connect() as raw:
        raw.send(PLAIN).answer()
        assert drip(raw, PLAIN) == len(PLAIN)
        assert raw.answer().status == 200


def test_a_refusal_is_seen_although_more_was_on_its_way() -> None:
    """A body that is too large is refused at once and then discarded, so there is no reset."""
    with Serving() as serving, serving.connect() as raw:
        raw.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n" + b"a" * 99999)
        answer = raw.answer()
        assert (answer.status, answer.code) == (413, "PayloadTooLarge")
        raw.sock.shutdown(socket.SHUT_WR)
        assert raw.ends()
        assert serving.requests == []


def test_a_client_that_keeps_sending_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that keeps sending after a refusal is disconnected soon."""
    short(monkeypatch)
    with Serving() as serving, serving.connect() as raw:
        raw.send(b"nonsense\r\n\r\n")
        assert raw.answer().code == "BadRequest"
        assert drip(raw, b"a" * 1000) < 1000


def test_a_client_that_expects_100_continue_gets_it() -> None:
    """An Expect: 100-continue client gets 100 before it sends the body, or 413 if too large."""
    head = PLAIN[:-2].replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    with Serving() as serving, serving.connect() as raw:
        assert raw.send(head).head()[0] == 100
        assert raw.send(b"{}").answer().status == 200
        raw.send(head.replace(b"Length: 2", b"Length: 99999"))
        assert raw.answer().status == 413
        assert len(serving.requests) == 1


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_the_last_request_of_a_connection_ends_it(version: bytes) -> None:
    """After a request with `Connection: close` the connection is closed, in both HTTP versions."""
    request = PLAIN.replace(b"HTTP/1.1", b"HTTP/" + version)
    request = request.replace(b"Host", b"Connection: close\r\nHost")
    with Serving() as serving, serving.connect() as raw:
        answer = raw.send(request + PLAIN).answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert raw.ends()
        assert len(serving.requests) == 1


def test_a_client_that_sends_no_more_is_still_answered() -> None:
    """A half-closed connection gets the answers to complete requests and is then closed."""
    with Serving() as serving, serving.connect() as raw:
        raw.send(PLAIN + PLAIN[:20]).sock.shutdown(socket.SHUT_WR)
        assert raw.answer().status == 200
        assert raw.ends()
        assert len(serving.requests) == 1


def test_a_client_that_is_gone_before_its_answer_disturbs_nobody() -> None:
    """A client that leaves before its answer does not affect the requests of others."""

    async def slowly(request: Request) -> Response:
        await asyncio.sleep(0.2)
        return await yes(request)

    with Serving(slowly) as serving:
        raw = serving.connect().send(PLAIN)
        while not serving.requests:
            time.sleep(0.01)
        raw.close()
        time.sleep(0.3)
        with serving.connect() as other:
            assert other.send(PLAIN).answer().status == 200


@pytest.mark.parametrize("reads", [False, True])
def test_a_client_that_does_not_read_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, reads: bool
) -> None:
    """A client that does not read its answer is disconnected at the deadline.

    One that starts to read before the deadline gets its answer.
    """
    short(monkeypatch, request_seconds=20.0 if reads else 0.4)

    async def large(_: Request) -> Response:
        return Response(200, {"filler": "x" * 500_000})

    serving = Serving(large, send_buffer=4096)
    with serving, serving.connect(receive_buffer=4096) as raw:
        raw.send(PLAIN)
        time.sleep(0.6)
        if reads:
            assert len(raw.answer().content) > 500_000
            assert len(raw.send(PLAIN).answer().content) > 500_000
        else:
            with pytest.raises(EOFError):
                raw.answer()


def test_data_after_the_end_is_ignored() -> None:
    """Data that asyncio delivers after the connection was lost is ignored."""

    async def after_the_end() -> None:
        lost: list[bool] = []
        handler: Any = None
        connection = Connection(handler, Peer("a"), Wire(), lambda _: lost.append(True))
        connection.connection_lost(None)
        connection.buffer_updated(8)
        connection.abort()
        assert lost == [True]

    asyncio.run(after_the_end())
