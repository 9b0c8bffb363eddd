"""A permanent connection to the bus: it is made again after any failure."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from nats.aio.client import Client

from agent.config.fleet_limits import FLEET
from agent.fleet import jwt, nkeys, roles
from agent.fleet.access import Access
from agent.fleet.jwt import Times
from agent.fleet.line import Line
from agent.fleet.nkeys import KeyPair
from agent.host.serving import end
from tests.parts.bus import PATIENCE, Bus, RunningServer, make_home
from tests.parts.host import work_directory
from tests.parts.relay import delayed

HOST = "i-00000000000000001"


@pytest.fixture
def cluster() -> Iterator[Bus]:
    """Two servers; a test may kill one."""
    with work_directory() as directory, Bus(make_home(directory, 2), directory) as running:
        yield running


class Quick:
    """Limits that are short enough for a test."""

    watch_seconds = 0.2
    connect_seconds = 2.0
    reconnect_seconds = FLEET.reconnect_seconds

    def __getattr__(self, name: str) -> Any:
        """All other limits are unchanged."""
        return getattr(FLEET, name)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that notices a silent server soon."""
    monkeypatch.setattr("agent.fleet.line.FLEET", Quick())


def write_creds(bus: Bus, path: Path, lifetime: float = 3600) -> None:
    """Write a host's credentials that end after `lifetime` seconds."""
    key, now = KeyPair.generate(nkeys.USER), time.time()
    signer = KeyPair.parse(bus.home.file("host-signer.nk"), nkeys.ACCOUNT)
    account = bus.home.facts.account.identity
    token = roles.user(signer, account, HOST, key.public, Times(int(now) - 1, int(now + lifetime)))
    path.write_text(jwt.creds(token, key))


def hold(bus: Bus, path: Path, check: Callable[[Line], Awaitable[None]]) -> None:
    """Run a check while a line with these credentials is running and answers requests."""

    async def echo(message: Any) -> None:
        await message.respond(message.data)

    async def prepare(client: Client) -> None:
        await client.subscribe(f"sk.host.{HOST}", cb=echo)

    async def run() -> None:
        system = bus.home.system_access()
        line = Line(Access(system.servers, system.ca, str(path)), "test", prepare)
        task = asyncio.create_task(line.run())
        try:
            await check(line)
        finally:
            await end(task)

    asyncio.run(run())


async def until_connection(line: Line, number: int) -> None:
    """Wait until the line has made this many connections, and the last one is up."""
    end = time.monotonic() + PATIENCE
    while line.connections < number or line.client is None:
        assert time.monotonic() < end, f"there is no connection {number}"
        await asyncio.sleep(0.02)


async def serving(bus: Bus, line: Line) -> RunningServer:
    """The server that the line's first connection is to."""
    await until_connection(line, 1)
    assert line.client is not None
    assert line.client.connected_url is not None
    at = line.client.connected_url.port
    return next(each for each in bus.servers if each.server.port == at)


async def answers(bus: Bus) -> None:
    """Send requests to the host until it answers, since subscriptions spread slowly."""
    end = time.monotonic() + PATIENCE
    async with bus.gateway() as gateway:
        while True:
            try:
                await gateway.request(f"sk.host.{HOST}", b"x", timeout=1)
            except Exception:  # noqa: BLE001 - whatever it is, time is what bounds it
                assert time.monotonic() < end, "the host does not answer"
                await asyncio.sleep(0.05)
            else:
                return


def test_a_server_that_dies_is_replaced_by_another(cluster: Bus, tmp_path: Path) -> None:
    """The host reconnects to the other server by itself."""
    write_creds(cluster, tmp_path / "creds")

    async def check(line: Line) -> None:
        (await serving(cluster, line)).kill()
        await until_connection(line, 2)
        await answers(cluster)

    hold(cluster, tmp_path / "creds", check)


def test_a_line_waits_for_servers_that_come_back(cluster: Bus, tmp_path: Path) -> None:
    """A line without any server connects again when a server comes back."""
    write_creds(cluster, tmp_path / "creds")

    async def check(line: Line) -> None:
        await until_connection(line, 1)
        for server in cluster.servers:
            server.kill()
        end = time.monotonic() + PATIENCE
        while line.connected.is_set():
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        cluster.servers[0].start()
        await until_connection(line, 2)

    hold(cluster, tmp_path / "creds", check)


def test_a_token_that_ends_is_followed_by_the_renewed_one(cluster: Bus, tmp_path: Path) -> None:
    """When a token has ended, the line connects with the token now in the file."""
    write_creds(cluster, tmp_path / "creds", lifetime=3)

    async def check(line: Line) -> None:
        await until_connection(line, 1)
        write_creds(cluster, tmp_path / "creds")
        await until_connection(line, 2)
        await answers(cluster)

    hold(cluster, tmp_path / "creds", check)


@pytest.mark.usefixtures("quick")
def test_a_reading_task_that_is_gone_is_noticed(cluster: Bus, tmp_path: Path) -> None:
    """A line connects again if nats-py's reading task has ended without a sign."""
    write_creds(cluster, tmp_path / "creds")

    async def check(line: Line) -> None:
        await until_connection(line, 1)
        assert line.client is not None
        assert line.client._reading_task is not None
        line.client._reading_task.cancel()
        await until_connection(line, 2)
        await answers(cluster)

    hold(cluster, tmp_path / "creds", check)


@pytest.mark.usefixtures("quick")
def test_a_server_that_stands_still_is_noticed(cluster: Bus, tmp_path: Path) -> None:
    """A server keeps the connection but does not answer: the line closes it and takes another."""
    write_creds(cluster, tmp_path / "creds")

    async def check(line: Line) -> None:
        still = await serving(cluster, line)
        assert still.process is not None
        still.process.send_signal(signal.SIGSTOP)
        try:
            await until_connection(line, 2)
            gc.collect()  # a connection that is not closed would be reported here
        finally:
            still.process.send_signal(signal.SIGCONT)

    hold(cluster, tmp_path / "creds", check)


@pytest.mark.usefixtures("quick")
def test_a_line_that_ends_while_it_connects_closes_the_connection(
    cluster: Bus, tmp_path: Path
) -> None:
    """All servers stand still: a line that is stopped in the middle leaves no socket open."""
    write_creds(cluster, tmp_path / "creds")
    system = cluster.home.system_access()

    async def run() -> None:
        line = Line(Access(system.servers, system.ca, str(tmp_path / "creds")), "test")
        task = asyncio.create_task(line.run())
        await asyncio.sleep(0.5)
        await end(task)
        gc.collect()

    for server in cluster.servers:
        assert server.process is not None
        server.process.send_signal(signal.SIGSTOP)
    try:
        asyncio.run(run())
    finally:
        for server in cluster.servers:
            assert server.process is not None
            server.process.send_signal(signal.SIGCONT)


def test_bad_credentials_are_tried_again(cluster: Bus, tmp_path: Path) -> None:
    """A line tries a damaged credentials file again until it has been renewed."""
    (tmp_path / "creds").write_text("nothing")

    async def check(line: Line) -> None:
        await asyncio.sleep(0.5)
        assert line.client is None
        write_creds(cluster, tmp_path / "creds")
        await until_connection(line, 1)

    hold(cluster, tmp_path / "creds", check)


def test_a_server_that_is_slow_for_all_is_reached_in_the_end(
    cluster: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that needs longer than the first attempts wait is connected to by a later one."""
    limits = Quick()
    limits.connect_seconds, limits.reconnect_seconds = 0.3, 0.05
    monkeypatch.setattr("agent.fleet.line.FLEET", limits)
    write_creds(cluster, tmp_path / "creds")
    system = cluster.home.system_access()

    async def run() -> None:
        async with delayed(cluster.servers[0].server.port, 1.0) as slow:
            line = Line(Access((slow,), system.ca, str(tmp_path / "creds")), "test")
            task = asyncio.create_task(line.run())
            try:
                await until_connection(line, 1)
            finally:
                await end(task)

    asyncio.run(run())


def test_a_line_goes_to_no_server_that_was_taken_off_the_list(cluster: Bus, tmp_path: Path) -> None:
    """When the list is replaced, the next connection is to a server of the new list."""
    write_creds(cluster, tmp_path / "creds")

    async def run() -> None:
        async with delayed(cluster.servers[0].server.port, 0.0) as added:
            system = cluster.home.system_access()
            creds = str(tmp_path / "creds")
            line = Line(Access(system.servers, system.ca, creds), "test")
            task = asyncio.create_task(line.run())
            try:
                await until_connection(line, 1)
                line.use(Access((added,), system.ca, creds))
                await until_connection(line, 2)
                assert line.client is not None
                assert line.client.connected_url is not None
                assert line.client.connected_url.geturl() == added
            finally:
                await end(task)

    asyncio.run(run())
