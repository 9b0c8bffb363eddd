"""The HTTP shell of a running daemon against hostile bytes and hostile crowds."""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import pytest

from agent.config.limits import LIMITS
from tests.parts.certificates import Authority
from tests.parts.daemon import PATIENCE, RunningDaemon
from tests.parts.helper import ask_helper
from tests.parts.raw import Raw, ask
from tests.parts.signed import members
from tests.parts.waiting import wait_until
from tests.sources.api.plan import valid_push
from tests.sources.api.test_table import daemon_with, send
from tests.sources.api.test_tls import settings

CROWD = 1000
# Asyncio's debug mode keeps a stack trace for each handle, which would distort the memory use.
PLAIN = {"PYTHONASYNCIODEBUG": ""}
HOSTILE = "127.66.6.6"
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    """A daemon shared by all tests, since nothing sent to it here changes it."""
    yield from daemon_with(PLAIN)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that signs the server's certificate."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def encrypted(authority: Authority) -> Iterator[RunningDaemon]:
    """A shared daemon that serves TLS."""
    yield from daemon_with(PLAIN, push=settings(authority))


def address(daemon: RunningDaemon) -> tuple[str, int]:
    """The address that the daemon listens on."""
    return "127.0.0.1", daemon.http_port


MANY = b"".join(b"X-%d: a\r\n" % number for number in range(LIMITS.header_count))
REFUSED = {
    "not HTTP": (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", 400, "BadRequest"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "BadRequest"),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400, "BadRequest"),
    "16 KiB of headers": (HEAD + b"X: " + b"a" * LIMITS.head_bytes, 431, "HeadersTooLarge"),
    "a 16 KiB target": (b"POST /" + b"a" * LIMITS.head_bytes, 431, "HeadersTooLarge"),
    "66 headers": (HEAD + MANY + b"\r\n", 431, "HeadersTooLarge"),
    "a long body": (HEAD + b"Content-Length: 16385\r\n\r\n", 413, "PayloadTooLarge"),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", 411, "LengthRequired"),
    "tiny chunks": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 3000,
        411, "LengthRequired",
    ),
    "length and chunks": (
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400, "BadRequest",
    ),
    "two lengths": (HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400, "BadRequest"),
    "folded header": (HEAD + b"X-A: b\r\n c\r\n\r\n", 400, "BadRequest"),
    "bare line feed": (HEAD + b"X-A: b\n\r\n", 400, "BadRequest"),
    "space before the colon": (HEAD + b"X-A : b\r\n\r\n", 400, "BadRequest"),
    "no Host": (b"POST / HTTP/1.1\r\n\r\n", 400, "BadRequest"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "status", "code"), REFUSED.values(), ids=list(REFUSED))
def test_hostile_bytes_are_refused(
    daemon: RunningDaemon, data: bytes, status: int, code: str
) -> None:
    """Malformed requests get an HTTP error in the reference's JSON, and the connection ends."""
    for place in (address(daemon), daemon.push_socket):
        with Raw(place) as raw:
            answer = raw.send(data).answer()
            assert (answer.status, answer.code) == (status, code)
            assert answer.headers["connection"] == "close"
            raw.sock.shutdown(socket.SHUT_WR)
            assert raw.ends()


def test_head_is_answered_without_a_body(daemon: RunningDaemon) -> None:
    """HEAD is answered with headers only, and the next request on the connection is served."""
    with Raw(address(daemon)) as raw:
        status, headers = raw.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").head()
        assert (status, headers["x-amzn-errortype"]) == (400, "MissingAction")
        assert raw.send(valid_push()).answer().code == ""


def test_a_push_is_taken_in_every_way_of_http(daemon: RunningDaemon) -> None:
    """A push is taken once over keep-alive, pipelining, Expect: 100-continue and HTTP/1.0."""
    with Raw(address(daemon)) as raw:
        requests = [valid_push() for _ in range(5)]
        raw.send(b"".join(requests))
        assert len({raw.answer().request_id for _ in requests}) == 5
        head, _, body = valid_push().partition(b"\r\n\r\n")
        assert raw.send(head + b"\r\nExpect: 100-continue\r\n\r\n").head()[0] == 100
        assert raw.send(body).answer().code == ""
        last = raw.send(valid_push().replace(b"HTTP/1.1", b"HTTP/1.0", 1)).answer()
        assert (last.code, last.headers["connection"]) == ("", "close")
        assert raw.ends()


def test_a_request_has_ten_seconds(daemon: RunningDaemon) -> None:
    """A dripping client gets 408, a silent one is closed, and an idle connection is kept."""
    with Raw(address(daemon)) as drip, Raw(address(daemon)) as silent, Raw(address(daemon)) as idle:
        assert idle.send(valid_push()).answer().code == ""
        data = HEAD + b"X: " + b"a" * 1000
        sent = 0
        with contextlib.suppress(OSError), selectors.DefaultSelector() as selector:
            selector.register(drip.sock, selectors.EVENT_READ)
            while not selector.select(0.25) and sent < len(data):
                drip.send(data[sent : sent + 1])
                sent += 1
        assert drip.answer().code == "RequestTimeout"
        assert sent < len(data)
        assert silent.ends()
        assert idle.send(valid_push()).answer().code == ""


def resident(daemon: RunningDaemon) -> int:
    """The daemon's resident memory in KiB."""
    status = Path(f"/proc/{daemon.pid}/status").read_text("ascii")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1])


def open_sockets(daemon: RunningDaemon) -> int:
    """The number of sockets that the daemon has open."""
    directory = f"/proc/{daemon.pid}/fd"
    links = []
    for name in os.listdir(directory):
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(f"{directory}/{name}"))
    return sum(link.startswith("socket:") for link in links)


def crowd(daemon: RunningDaemon, first: bytes) -> list[socket.socket]:
    """A thousand connections from one address, each of which has sent these first bytes."""
    held = []
    for _ in range(CROWD):
        sock = socket.socket()
        sock.settimeout(PATIENCE)
        sock.bind((HOSTILE, 0))
        sock.connect(address(daemon))
        with contextlib.suppress(OSError):
            sock.sendall(first)
        held.append(sock)
    return held


def drip(held: list[socket.socket], data: bytes) -> None:
    """Send more data on each connection that is still open."""
    for sock in held:
        with contextlib.suppress(OSError):
            sock.sendall(data)


HOLDING = {
    "silent": (b"", b""),
    "dripping": (b"P", b"a"),
    "full of headers": (HEAD + b"X: " + b"a" * 15_000, b"a"),
    "within a body": (HEAD + b"Content-Length: 16384\r\n\r\n" + b"a" * 16_000, b"a"),
    "half a handshake": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00"),
}


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        *(("plain", how) for how in HOLDING if how != "half a handshake"),
        ("tls", "silent"), ("tls", "half a handshake"),
    ],
)  # fmt: skip
def test_a_thousand_connections_stop_nobody_else(
    request: pytest.FixtureRequest, kind: str, how: str
) -> None:
    """A thousand connections from one address block no push and no lookup, and leak no memory."""
    daemon: RunningDaemon = request.getfixturevalue("encrypted" if kind == "tls" else "daemon")
    authority = request.getfixturevalue("authority") if kind == "tls" else None
    first, more = HOLDING[how]
    warm_up(daemon, first)
    before = resident(daemon)
    held = crowd(daemon, first)
    try:
        assert open_sockets(daemon) < LIMITS.connections_per_source + 32
        for _ in range(5):
            drip(held, more)
            assert pushes(daemon, authority)
            assert ask_helper(daemon.lookup_socket, "crowded")
            assert ask(daemon.push_socket, local()).code == ""
    finally:
        for sock in held:
            sock.close()
    settle(daemon)
    await_memory(daemon, before)


def test_memory_goes_back_when_the_crowd_has_gone(authority: Authority) -> None:
    """After five thousand broken handshakes the daemon returns to its former memory use."""
    for daemon in daemon_with(PLAIN, push=settings(authority)):
        before = resident(daemon)
        for _ in range(5):
            for sock in crowd(daemon, HOLDING["half a handshake"][0]):
                sock.close()
            settle(daemon)
        await_memory(daemon, before)


def warm_up(daemon: RunningDaemon, first: bytes) -> None:
    """Open and close crowds until another one no longer increases the daemon's memory."""
    for _ in range(12):
        before = resident(daemon)
        for sock in crowd(daemon, first):
            sock.close()
        settle(daemon)
        if resident(daemon) < before + 512:
            return
    raise AssertionError(f"each crowd costs memory: {resident(daemon)} KiB")


def await_memory(daemon: RunningDaemon, before: int) -> None:
    """Wait until the daemon's memory (KiB) is near `before`, with an allowance for allocators."""
    wait_until(
        lambda: resident(daemon) <= before + 6 * 1024,
        lambda: f"{before} KiB before, {resident(daemon)} now",
        pause=0.2,
        seconds=PATIENCE,
    )


def settle(daemon: RunningDaemon) -> None:
    """Wait until the daemon has closed the connections that the crowd has closed."""
    wait_until(
        lambda: open_sockets(daemon) <= 16,
        lambda: f"{open_sockets(daemon)} sockets are open",
        pause=0.1,
        seconds=PATIENCE,
    )


def local() -> bytes:
    """A push as a local user sends it."""
    body = json.dumps(members(InstanceOSUser="crowded")).encode()
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


def pushes(daemon: RunningDaemon, authority: Optional[Authority]) -> bool:
    """Whether a push from another source over the network is taken."""
    data = valid_push(InstanceOSUser="crowded")
    if authority is None:
        return send(daemon, data).code == ""
    return ask(address(daemon), data, tls=authority.trusting()).code == ""


def test_the_oldest_give_way_when_all_places_are_taken(daemon: RunningDaemon) -> None:
    """With all 512 connections in use, the oldest unfinished ones are closed for new ones."""
    with contextlib.ExitStack() as stack:
        for number in range(LIMITS.connections + 20):
            raw = Raw(address(daemon), source=f"127.77.0.{1 + number % 200}")
            stack.enter_context(raw).send(b"P")
        for _ in range(3):
            assert send(daemon, valid_push(InstanceOSUser="crowded")).code == ""
        assert open_sockets(daemon) < LIMITS.connections + 32
        assert ask_helper(daemon.lookup_socket, "crowded")


def test_hostile_connections_write_nothing_to_stderr(
    daemon: RunningDaemon, encrypted: RunningDaemon
) -> None:
    """Hostile connections write nothing to stderr, so strangers cannot fill the log."""
    for each in (daemon, encrypted):
        before, served, after = each.log().partition("sixtykeyd: serving ")
        assert (bool(served), "\n" in after) == (True, False), before + served + after
