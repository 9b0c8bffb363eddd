"""A hostile server of the bus, or an attacker on the way to one, ends nothing and hears nothing."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from nats.errors import TimeoutError as NoMessage

from agent.config.fleet_limits import FLEET
from agent.fleet.bus import nats_client
from agent.fleet.bus.access import Access
from agent.fleet.bus.connection import BusConnection
from agent.fleet.bus.guarded_client import GuardedClient
from agent.fleet.bus.nats_client import Unreachable
from agent.host.serving import end
from tests.parts.bus import PATIENCE, Bus, make_home
from tests.parts.host import work_directory
from tests.parts.network_thief import NetworkThief, info, thief


@pytest.fixture(scope="module")
def bus() -> Iterator[Bus]:
    """A fleet's only server, which is honest."""
    with work_directory() as directory, Bus(make_home(directory), directory) as running:
        yield running


def access(bus: Bus, *urls: str) -> Access:
    """The system account's access to these servers."""
    system = bus.home.system_access()
    return Access(urls or system.servers, system.ca, system.creds)


async def until(condition: Callable[[], bool], task: asyncio.Task[None]) -> None:
    """Wait until the condition holds, while the task runs on."""
    loop = asyncio.get_running_loop()
    last = loop.time() + PATIENCE
    while not condition():
        assert not task.done(), task
        assert loop.time() < last
        await asyncio.sleep(0.01)


def attacked(
    bus: Bus,
    course: Callable[[BusConnection, NetworkThief, asyncio.Task[None]], Awaitable[None]],
    first: bytes,
    after: bytes = b"",
    context: Any = None,
) -> None:
    """Run a course of events with a connection whose only server is the attacker."""

    async def run() -> None:
        async with thief(first, after, context) as (url, made):
            connection = BusConnection(access(bus, url), "test")
            task = asyncio.create_task(connection.run())
            try:
                await course(connection, made, task)
            finally:
                await end(task)

    asyncio.run(run())


DOWNGRADES = {
    "no word of TLS": info(tls_required=None),
    "no TLS": info(tls_required=False),
    "neither TLS nor a token": info(tls_required=False, auth_required=False),
    "TLS is null": info(tls_required=0, auth_required=None, nonce=None),
}


@pytest.mark.parametrize("name", DOWNGRADES)
def test_nothing_is_said_without_tls(bus: Bus, name: str) -> None:
    """Whoever is on the way and leaves TLS out gets no token, no message and no connection."""

    async def course(
        connection: BusConnection, made: NetworkThief, task: asyncio.Task[None]
    ) -> None:
        await until(lambda: made.connections > 1, task)
        assert made.heard
        assert all(each.startswith(b"\x16\x03") for each in made.heard), made.heard
        assert not connection.connected.is_set()
        url = connection._access.servers[0]
        with pytest.raises(Unreachable):
            await nats_client.connect_once(access(bus, url))
        assert b"CONNECT" not in b"".join(made.heard)

    attacked(bus, course, DOWNGRADES[name])


def test_a_client_without_tls_is_never_used(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a version of nats-py did not call what insists on TLS, the connection is refused."""
    name = "agent.fleet.bus.guarded_client.GuardedClient"

    async def believe(*_: object, **__: object) -> None:
        """Do as nats-py does."""

    async def attempt() -> None:
        async with thief(info(tls_required=False)) as (url, made):
            monkeypatch.setattr(f"{name}._process_info", believe)
            with pytest.raises(Unreachable, match="not encrypted"):
                await nats_client.connect_once(access(bus, url))
            assert made.heard == []

    asyncio.run(attempt())


FIRST_LINES = {
    "a list": b"INFO []\r\n",
    "a number": b"INFO 5\r\n",
    "nothing": b"INFO \r\n",
    "no INFO": b"+OK\r\n",
    "no text": b"INFO \xff\xfe{}\r\n",
    "deep": b"INFO " + b"[" * 30_000 + b"\r\n",
    "long": b"INFO " + b"x" * 200_000 + b"\r\n",
    "no line": b"INFO {",
    "a strange list of servers": info(connect_urls=[5, None, "[", "x:99999999"]),
    "a strange size": info(max_payload="x"),
    "a strange nonce": info(nonce=[1]),
}


@pytest.mark.parametrize("name", FIRST_LINES)
def test_no_first_line_ends_the_attempts(bus: Bus, name: str) -> None:
    """Whatever a server says first, the next one is tried, and a command says what is wrong."""

    async def course(
        connection: BusConnection, made: NetworkThief, task: asyncio.Task[None]
    ) -> None:
        await until(lambda: made.connections > 0, task)
        url = connection._access.servers[0]
        if name != "no line":  # this takes as long as a server may take
            with pytest.raises(Unreachable):
                await nats_client.connect_once(access(bus, url))
        connection.use(access(bus, *bus.home.system_access().servers))
        if name != "no line":
            await until(connection.connected.is_set, task)

    attacked(bus, course, FIRST_LINES[name])


def context_of(bus: Bus) -> ssl.SSLContext:
    """The TLS of a server that was taken over."""
    (server,) = bus.home.facts.servers
    folder = Path(bus.home.folder) / "home" / "servers" / server.folder
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context


@pytest.mark.parametrize(
    "piece",
    [
        b"x" * 65536,
        b"MSG a 1 999999999999\r\n" + b"x" * 65536,
        b"INFO " + b"x" * 65536,
        b"INFO {\r\n" + b"x" * 65536,
    ],
    ids=["a line", "a message", "a list of servers", "not readable"],
)
def test_what_has_no_end_is_not_kept(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, piece: bytes
) -> None:
    """A server that sends a line or a message without end is left, before it takes memory."""
    clients: list[Any] = []

    class Listed(GuardedClient):
        def __init__(self) -> None:
            super().__init__()
            clients.append(self)

    monkeypatch.setattr("agent.fleet.bus.connection.GuardedClient", Listed)

    async def course(_: BusConnection, made: NetworkThief, task: asyncio.Task[None]) -> None:
        def left() -> bool:
            assert all(len(each._ps.buf) <= 3 * FLEET.bus_line_bytes for each in clients)
            return made.connections > 1

        await until(left, task)
        assert clients

    attacked(bus, course, info(), piece, context_of(bus))


def test_other_servers_are_not_learned(bus: Bus) -> None:
    """A server that names others again and again makes no list grow."""
    urls = json.dumps([f"bus-{number}.example:4222" for number in range(500)])
    many = f'INFO {{"connect_urls": {urls}}}\r\nPING\r\n'.encode()

    async def course(
        connection: BusConnection, made: NetworkThief, task: asyncio.Task[None]
    ) -> None:
        await until(lambda: connection.client is not None, task)
        client: Any = connection.client
        # It answers what comes after such a line, so it has read the line.
        await until(lambda: b"PONG" in b"".join(made.heard), task)
        assert len(client._server_pool) == 1

    attacked(bus, course, info(), many, context_of(bus))


@pytest.mark.parametrize("most", ["x", [], 0, -1, 1e9, True, FLEET.document_bytes])
def test_a_server_that_takes_no_message_is_not_used(bus: Bus, most: Any) -> None:
    """A server whose limit for messages is none, or is too small, is refused in words."""

    async def attempt() -> None:
        async with thief(info(max_payload=most), b"", context_of(bus)) as (url, _):
            with pytest.raises(Unreachable, match="no messages of the size"):
                await nats_client.connect_once(access(bus, url))

    asyncio.run(attempt())


class Answers:
    """A subscription with these answers to the account's token."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = list(answers)

    async def next_msg(self, timeout: float) -> Any:
        """The next one."""
        assert timeout
        if not self._answers:
            raise NoMessage
        self.data = self._answers.pop(0)
        return self


def answer(name: Any, **more: Any) -> bytes:
    """A server's answer."""
    return json.dumps({"server": {"name": name}, **more}).encode()


JUNK = (b"", b"[]", b"5", b"\xff", b"[" * 20_000, b'{"server": 5}', b"{}")


SERVERS = ("bus-1", "bus-2", "bus-3")
Told = nats_client.Answers


def collected(*answers: bytes) -> Told:
    """What is taken from these answers to the account's token."""
    said: Any = Answers(*answers)
    return asyncio.run(nats_client._collect(said, frozenset(SERVERS)))


def test_a_stolen_server_keeps_no_others_answer_away() -> None:
    """Junk, repeated answers, and refusals in others' names leave the acceptances as they are."""
    false = (answer(name, error="no") for name in SERVERS)
    said = (*JUNK, *false, answer("bus-1"), answer("bus-1"), answer("bus-3"), answer("bus-2"))
    assert collected(*said) == Told(list(SERVERS), {})


def test_a_refusal_is_told_beside_the_others_acceptances() -> None:
    """A server that refuses is told with its first reason, which is cut and printable."""
    said = (answer("bus-1"), answer("bus-2", error="no\x1b" + "x" * 9_999), answer("bus-3"))
    told = collected(*said, answer("bus-2", error="other"))
    longest = "no?" + "x" * (FLEET.text_characters - 3)
    assert told == Told(["bus-1", "bus-3"], {"bus-2": longest})


@pytest.mark.parametrize("name", ["x", "", 5, None, ["bus-1"], {"bus-1": 1}])
def test_what_is_in_no_servers_name_counts_for_nothing(name: Any) -> None:
    """Acceptances and refusals in names of no server are ignored, however many come first."""
    invented = (answer(f"x{number}") for number in range(9))
    told = collected(answer(name), answer(name, error="no"), *invented, answer("bus-2"))
    assert told == Told(["bus-2"], {})


def test_if_all_servers_refuse_the_token_that_is_told() -> None:
    """If no server accepts the account's token, the error has each one's reason."""
    with pytest.raises(Unreachable, match=r"bus-1: .*revoked"):
        collected(*JUNK, answer("bus-1", error={"description": "revoked"}))


def test_no_answer_is_no_acceptance() -> None:
    """If no server answers, that is an error, and no removal that took place."""
    with pytest.raises(Unreachable, match="none answers"):
        collected()
