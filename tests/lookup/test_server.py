"""The lookup socket: its request line, its answers, and misbehaving clients."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.audit.history import History
from agent.audit.record import Audit
from agent.config import settings as config
from agent.config.limits import LIMITS
from agent.leases.store import LeaseStore
from agent.lookup.admission import Admissions
from agent.lookup.answers import Lookups, Malformed, parse
from agent.lookup.handouts import HandOuts
from agent.lookup.server import END_MARK, LookupServer
from agent.sources.replay import ReplayMemory
from tests.parts.clock import ManualClock
from tests.parts.leases import make_lease

SHA = "SHA256:" + "A" * 43
MD5 = "MD5:" + ":".join(["0a"] * 16)


@pytest.mark.parametrize(
    ("line", "user", "fingerprint"),
    [
        (b"alice\n", "alice", None),
        (b"ec2-user " + SHA.encode() + b"\n", "ec2-user", SHA),
        (b"DOM\\user " + MD5.encode() + b"\n", "DOM\\user", MD5),
        ("änne\n".encode(), "änne", None),
        (b"\xff\n", "\udcff", None),
        (b"u" * 255 + b"\n", "u" * 255, None),
    ],
)
def test_a_lookup_line_is_a_user_and_perhaps_a_fingerprint(
    line: bytes, user: str, fingerprint: Optional[str]
) -> None:
    """A line with a user, and optionally a SHA256 or MD5 fingerprint, is parsed."""
    assert parse(line) == (user, fingerprint)


@pytest.mark.parametrize(
    "line",
    [
        b"", b"\n", b"alice", b" alice\n", b"alice \n", b"alice\r\n", b"a\tb\n", b"a\0b\n",
        b"alice\nbob\n", b"alice " + SHA.encode()[:-1] + b"\n", b"alice " + SHA.encode() + b"=\n",
        b"alice " + SHA.encode() + b" x\n", b"alice  " + SHA.encode() + b"\n", b"a\x7f\n",
        b"alice " + MD5.upper().encode() + b"\n", b"alice SHA512:x\n", b"u" * 256 + b"\n",
        b"alice\n\n", b"alice " + MD5.encode()[:-3] + b"\n", b"alice sha256:" + b"A" * 43 + b"\n",
    ],
)  # fmt: skip
def test_any_other_line_is_malformed(line: bytes) -> None:
    """A line in any other form is refused as malformed."""
    with pytest.raises(Malformed):
        parse(line)


@given(st.binary(max_size=600))
def test_an_accepted_line_is_parsed_without_loss(line: bytes) -> None:
    """An accepted line is exactly its user and fingerprint, and within the size limit."""
    try:
        user, fingerprint = parse(line)
    except Malformed:
        return
    words = (
        user.encode("utf-8", "surrogateescape"),
        *([fingerprint.encode()] if fingerprint else []),
    )
    assert b" ".join(words) + b"\n" == line
    assert len(line) <= LIMITS.lookup_bytes


class Desk:
    """A lookup server with a table, on its own Unix socket."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.clock = ManualClock()
        memory = ReplayMemory(self.clock)
        self.store = LeaseStore(config.Keys(per_user=1000), None, memory, self.clock, print)
        self.table = self.store.table
        self.handouts = HandOuts(str(path.with_name("handed")))
        self.records: list[bytes] = []
        self.history = History()
        self.audit = Audit(lambda line, *_: self.records.append(line), self.clock, self.history)
        self.server = LookupServer(
            Lookups(self.table, self.clock, self.audit, self.handouts),
            Admissions(self.store, self.handouts, self.clock, self.audit),
        )

    async def ask(self, data: bytes, *, end: bool = False) -> bytes:
        """Send bytes and read to the end; the lines before the end mark.

        With `end`, the end of the stream is sent too. Raises AssertionError if the answer is not
        empty and has no end mark.
        """
        answer = await self.ask_raw(data, end=end)
        assert answer in {b"", END_MARK} or answer.endswith(b"\n" + END_MARK)
        return answer[: -len(END_MARK)]

    async def ask_raw(self, data: bytes, *, end: bool = False) -> bytes:
        """Send bytes, and with `end` the end of the stream, and read to the end."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        try:
            writer.write(data)
            if end:
                writer.write_eof()
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


@asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[Desk]:
    """A desk that is open within the block."""
    made = Desk(folder / "lookup.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(made.path)
    made.server.start(listener)
    try:
        yield made
    finally:
        await made.server.stop()


def at_desk(folder: Path, course: Callable[[Desk], Awaitable[Any]]) -> None:
    """Run a course of events at a desk."""

    async def run() -> None:
        async with desk(folder) as made:
            await course(made)

    asyncio.run(run())


def test_a_live_key_is_given_and_nothing_of_it_is_consumed(tmp_path: Path) -> None:
    """A lookup gives all of a user's live keys or the one named, as often as it is asked."""
    first, second = make_lease(), make_lease()

    async def course(at: Desk) -> None:
        at.table.add(first)
        at.table.add(second)
        for _ in range(2):
            assert await at.ask(b"alice\n") == (first.line + second.line).encode()
            for name in (second.key.fingerprint, second.key.md5_fingerprint):
                assert await at.ask(f"alice {name}\n".encode()) == second.line.encode()
        assert await at.ask(f"alice {SHA}\n".encode()) == b""
        assert await at.ask(b"bob\n") == b""
        at.clock.advance(60.0)
        assert await at.ask(b"alice\n") == b""

    at_desk(tmp_path, course)


def test_an_answer_ends_with_an_empty_line(tmp_path: Path) -> None:
    """Every answer ends with an empty line, so that a truncated one is recognised."""
    lease = make_lease()

    async def course(at: Desk) -> None:
        at.table.add(lease)
        assert await at.ask_raw(b"alice\n") == lease.line.encode() + b"\n"
        assert await at.ask_raw(b"bob\n") == b"\n"

    at_desk(tmp_path, course)


def test_each_given_key_has_a_record_that_names_its_request(tmp_path: Path) -> None:
    """A key that is given, or refused after a push, is recorded; other lookups are counted."""
    lease = make_lease()

    async def course(at: Desk) -> None:
        await at.ask(b"alice\n")
        assert at.records == []
        assert at.audit.counts["lookup", "none"] == 1
        at.table.add(lease)
        at.history.record_push(lease)
        await at.ask(b"alice\n")
        await at.ask(f"alice {SHA}\n".encode())
        given, none = at.records
        assert f'"request_id": "{lease.request_id}"'.encode() in given
        assert b"another fingerprint" in none

    at_desk(tmp_path, course)


def test_a_malformed_line_is_closed_without_a_byte(tmp_path: Path) -> None:
    """A malformed or incomplete line is answered by closing; a line in two parts is served."""

    async def course(at: Desk) -> None:
        at.table.add(lease := make_lease())
        for data in (b"\0\n", b"alice\nalice\n", b"x" * 100_000, b"GET / HTTP/1.1\r\n\r\n"):
            assert await at.ask_raw(data) == b""
        assert await at.ask_raw(b"alice", end=True) == b""
        assert await at.ask_raw(b"", end=True) == b""
        reader, writer = await asyncio.open_unix_connection(at.path)
        writer.write(b"al")
        await asyncio.sleep(0.01)
        writer.write(b"ice\n")
        assert await reader.read() == lease.line.encode() + END_MARK
        writer.close()

    at_desk(tmp_path, course)


def test_silent_connections_are_closed_and_give_way(tmp_path: Path) -> None:
    """Silent connections beyond the limit do not block a lookup, and are closed."""

    async def course(at: Desk) -> None:
        at.table.add(lease := make_lease())
        silent = [socket.socket(socket.AF_UNIX) for _ in range(LIMITS.lookup_connections + 50)]
        for sock in silent:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, at.path)
        assert await at.ask(b"alice\n") == lease.line.encode()
        assert len(at.server._waiting) <= LIMITS.lookup_connections
        assert await asyncio.get_running_loop().sock_recv(silent[-1], 1) == b""
        for sock in silent:
            sock.close()
        assert await at.ask(b"alice\n") == lease.line.encode()

    at_desk(tmp_path, course)


def test_a_connection_that_does_not_read_is_closed(tmp_path: Path) -> None:
    """A client that does not read its answer is disconnected, and blocks no other lookup."""

    async def course(at: Desk) -> None:
        for _ in range(1000):
            at.table.add(make_lease())
        deaf = [socket.socket(socket.AF_UNIX) for _ in range(50)]
        for sock in deaf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, at.path)
            await asyncio.get_running_loop().sock_sendall(sock, b"alice\n")
        assert (await at.ask(b"alice\n")).count(b"\n") == 1000
        while at.server._waiting:
            await asyncio.sleep(0.05)
        for sock in deaf:
            sock.close()

    at_desk(tmp_path, course)


def test_stopping_answers_accepted_connections_and_leaves_the_path(tmp_path: Path) -> None:
    """An accepted connection is answered while the server stops, and the socket path stays."""

    async def course() -> None:
        async with desk(tmp_path) as at:
            at.table.add(lease := make_lease())
            reader, writer = await asyncio.open_unix_connection(at.path)
            await asyncio.sleep(0.05)
            stopping = asyncio.create_task(at.server.stop())
            await asyncio.sleep(0.05)
            writer.write(b"alice\n")
            assert await reader.read() == lease.line.encode() + END_MARK
            writer.close()
            await stopping

    asyncio.run(course())
    assert (tmp_path / "lookup.sock").is_socket()
