"""agent/sources/api/http_server.py: how many connections there may be, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.sources.api.http_server import HttpServer
from agent.sources.api.message import Request, Response
from tests.parts.raw import Raw, ask
from tests.sources.api.serving import PLAIN, Serving, short, yes


@contextlib.contextmanager
def waiting(serving: Serving, count: int, **options: Any) -> Iterator[list[Raw]]:
    """Open `count` connections that have sent the first byte of a request to the server."""
    before = serving.half()
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(serving.connect(**options)).send(b"P") for _ in range(count)]
        while serving.half() < before + count:
            time.sleep(0.01)
        yield held


def test_one_source_has_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source at its connection limit loses its own oldest unfinished connection."""
    short(monkeypatch, request_seconds=20.0)
    with Serving() as serving, contextlib.ExitStack() as stack:
        mine = stack.enter_context(waiting(serving, 4, source="127.0.0.2"))
        others = stack.enter_context(waiting(serving, 2, source="127.0.0.3"))
        assert ask(serving.address, PLAIN, source="127.0.0.2").status == 200
        refusal = mine[0].answer()
        assert (refusal.status, refusal.code) == (503, "ServiceUnavailable")
        assert mine[0].ends()
        for raw in [*mine[1:], *others]:
            assert raw.send(PLAIN[1:]).answer().status == 200


def test_an_answer_waits_for_no_acknowledgement() -> None:
    """TCP_NODELAY is set on connections, so the kernel does not delay a second answer."""
    with Serving() as serving, waiting(serving, 1):
        (connection,) = serving.server._places
        assert connection._transport is not None
        accepted = connection._transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_crowd_is_noticed_when_it_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """crowd_has_gone() is true once, after the connections of a full source have closed."""
    short(monkeypatch, request_seconds=20.0)
    with Serving() as serving:
        server = serving.server
        assert not server.crowd_has_gone()
        with waiting(serving, 4, source="127.0.0.2"):
            assert ask(serving.address, PLAIN, source="127.0.0.2").status == 200
            assert not server.crowd_has_gone()
        while server._places:
            time.sleep(0.01)
        assert server.crowd_has_gone()
        assert not server.crowd_has_gone()


def test_all_sources_together_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit for all sources, the oldest unfinished connection of all is closed."""
    short(monkeypatch, request_seconds=20.0)
    with Serving() as serving, contextlib.ExitStack() as stack:
        held = [
            stack.enter_context(waiting(serving, 4, source=f"127.0.0.{host}"))[0] for host in (2, 3)
        ]
        assert ask(serving.address, PLAIN, source="127.0.0.4").status == 200
        assert held[0].answer().code == "ServiceUnavailable"
        assert held[1].send(PLAIN[1:]).answer().status == 200


def test_an_idle_connection_gives_way_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle connection that has to give way is closed without an error."""
    short(monkeypatch, idle_seconds=20.0, request_seconds=20.0)
    with Serving() as serving, serving.connect() as idle:
        assert idle.send(PLAIN).answer().status == 200
        with waiting(serving, 4):
            assert idle.ends()
        assert serving.refused == []


def test_a_connection_that_is_being_answered_keeps_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Requests in progress keep their connections; a new connection is closed meanwhile."""
    short(monkeypatch)
    release = threading.Event()

    async def held(request: Request) -> Response:
        while not release.is_set():
            await asyncio.sleep(0.01)
        return await yes(request)

    with Serving(held) as serving, contextlib.ExitStack() as stack:
        busy = [stack.enter_context(serving.connect()).send(PLAIN) for _ in range(4)]
        while len(serving.requests) < 4:
            time.sleep(0.01)
        with serving.connect() as late:
            assert late.ends()
        release.set()
        assert [raw.answer().status for raw in busy] == [200] * 4
        assert ask(serving.address, PLAIN).status == 200


def test_a_client_that_does_not_read_does_not_end_the_accepting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A connection whose client does not read its answer gives way to new connections."""
    short(monkeypatch, request_seconds=20.0)

    async def large(request: Request) -> Response:
        if request.body == b"{}":
            return await yes(request)
        return Response(200, {"filler": "x" * 500_000})

    with Serving(large, send_buffer=4096) as serving, contextlib.ExitStack() as stack:
        for _ in range(4):
            raw = stack.enter_context(serving.connect(receive_buffer=4096))
            raw.send(PLAIN.replace(b"{}", b"[]"))
        while len(serving.requests) < 4:
            time.sleep(0.01)
        for _ in range(8):
            assert ask(serving.address, PLAIN).status == 200


@pytest.mark.parametrize("sent", [b"", PLAIN])
def test_a_client_that_is_gone_before_it_is_accepted_disturbs_nobody(sent: bytes) -> None:
    """A connection reset before it is accepted does not affect the next one."""
    serving = Serving()
    for _ in range(3):
        with serving.connect() as raw:
            raw.send(sent)
            raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with serving:
        assert ask(serving.address, PLAIN).status == 200
        assert {request.peer.source for request in serving.requests} == {"127.0.0.1"}


def test_the_oldest_gives_way_when_no_descriptor_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """When no file descriptor is left, the oldest connection is closed and accepting goes on."""
    short(monkeypatch, request_seconds=20.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Serving() as serving, waiting(serving, 1) as (oldest,):
        late = socket.socket()
        late.settimeout(30)
        # Take every descriptor up to the highest in use, and put the limit right above them.
        highest = max(map(int, os.listdir("/proc/self/fd")))
        taken = [os.dup(0)]
        while taken[-1] <= highest:
            taken.append(os.dup(0))
        os.close(taken[-1])
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken.pop(), hard))
        try:
            late.connect(serving.listener.getsockname())
            late.sendall(PLAIN)
            assert late.recv(12) == b"HTTP/1.1 200"
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            late.close()
            for descriptor in taken:
                os.close(descriptor)
        assert oldest.answer().code == "ServiceUnavailable"


def test_an_error_of_one_connection_is_not_the_listeners(monkeypatch: pytest.MonkeyPatch) -> None:
    """After accept(2) reports an error of one connection, the next one is accepted."""
    serving = Serving()
    accept, errors = serving.loop.sock_accept, [ConnectionAbortedError()]

    async def sock_accept(listener: socket.socket) -> Any:
        if errors:
            raise errors.pop()
        return await accept(listener)

    monkeypatch.setattr(serving.loop, "sock_accept", sock_accept)
    with serving:
        assert ask(serving.address, PLAIN).status == 200
    assert errors == []


def test_a_connection_that_does_not_begin_gives_its_place_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A connection whose setup hangs or fails is closed, and later ones are served."""
    short(monkeypatch, request_seconds=20.0)
    serving = Serving()
    begin, fates = serving.loop.connect_accepted_socket, [*[never] * 4, fail]

    async def connect_accepted_socket(*how: Any) -> Any:
        return await (fates.pop(0)() if fates else begin(*how))

    monkeypatch.setattr(serving.loop, "connect_accepted_socket", connect_accepted_socket)
    with serving, contextlib.ExitStack() as stack:
        held = [stack.enter_context(serving.connect()) for _ in range(5)]
        assert held[0].ends()
        assert held[4].ends()
        assert ask(serving.address, PLAIN).status == 200


async def never() -> None:
    """Last until it is cancelled."""
    await asyncio.Event().wait()


async def fail() -> None:
    """Fail for lack of memory."""
    raise OSError(errno.ENOMEM, "no memory")


def test_a_unix_socket_describes_its_peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer's uid comes from the kernel, and each local user counts as one source."""
    short(monkeypatch, request_seconds=20.0)
    with Serving(unix=str(tmp_path / "push.sock")) as serving, waiting(serving, 4) as mine:
        assert ask(serving.address, PLAIN).status == 200
        peer = serving.requests[0].peer
        assert (peer.source, peer.uid, peer.tls) == ("unix", os.getuid(), None)
        assert mine[0].answer().code == "ServiceUnavailable"


def test_stopping_lets_requests_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """On stop, requests in progress are answered, begun ones refused, idle connections closed."""
    short(monkeypatch, request_seconds=20.0, idle_seconds=20.0)
    begun = threading.Event()

    async def slowly(request: Request) -> Response:
        if request.body == b"[]":
            begun.set()
            await asyncio.sleep(0.3)
        return await yes(request)

    with Serving(slowly) as serving, contextlib.ExitStack() as stack:
        busy, half, idle = (stack.enter_context(serving.connect()) for _ in range(3))
        idle.send(PLAIN).answer()
        half.send(b"P")
        busy.send(PLAIN.replace(b"{}", b"[]"))
        assert begun.wait(30)
        serving.do(serving.server.stop())
        assert busy.answer().status == 200
        assert half.answer().code == "ServiceUnavailable"
        assert idle.ends()
        with pytest.raises(OSError, match="refused"):
            serving.connect()


def test_stopping_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that is not answered within the draining time is cut off."""
    short(monkeypatch, drain_seconds=0.1)

    async def never(request: Request) -> Response:
        await asyncio.sleep(1.0)
        return await yes(request)

    with Serving(never) as serving, serving.connect() as raw:
        raw.send(PLAIN)
        while not serving.requests:
            time.sleep(0.01)
        serving.do(serving.server.stop())
        assert raw.ends()


def test_a_server_that_never_started_can_be_stopped() -> None:
    """Stopping a server that was never started does nothing and does not fail."""

    async def stop() -> None:
        await HttpServer(yes, print).stop()

    asyncio.run(stop())
