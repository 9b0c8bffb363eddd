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
from agent.fleet.bus import jwt, nkeys, roles
from agent.fleet.bus.access import Access
from agent.fleet.bus.connection import BusConnection
from agent.fleet.bus.jwt import Times
from agent.fleet.bus.nkeys import KeyPair
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
    """A connection that notices a silent server soon."""
    monkeypatch.setattr("agent.fleet.bus.connection.FLEET", Quick())


def write_creds(bus: Bus, path: Path, lifetime: float = 3600) -> None:
    """Write a host's credentials that end after `lifetime` seconds."""
    key, now = KeyPair.generate(nkeys.USER), time.time()
    signer = KeyPair.parse(bus.home.file("host-signer.nk"), nkeys.ACCOUNT)
    account = bus.home.facts.account.identity
    token = roles.user(signer, account, HOST, key.public, Times(int(now) - 1, int(now + lifetime)))
    path.write_text(jwt.creds(token, key))


def hold(bus: Bus, path: Path, check: Callable[[BusConnection], Awaitable[None]]) -> None:
    """Run a check while a connection with these credentials is running and answers requests."""

    async def echo(message: Any) -> None:
        await message.respond(message.data)

    async def prepare(client: Client) -> None:
        await client.subscribe(f"sk.host.{HOST}", cb=echo)

    async def run() -> None:
        system = bus.home.system_access()
        connection = BusConnection(Access(system.servers, system.ca, str(path)), "test", prepare)
        task = asyncio.create_task(connection.run())
        try:
            await check(connection)
        finally:
            await end(task)

    asyncio.run(run())


async def until_connection(connection: BusConnection, number: int) -> None:
    """Wait until it has connected this many times, and is connected."""
    end = time.monotonic() + PATIENCE
    while connection.connections < number or connection.client is None:
        assert time.monotonic() < end, f"there is no connection {number}"
        await asyncio.sleep(0.02)


async def serving(bus: Bus, connection: BusConnection) -> RunningServer:
    """The server that is connected first."""
    await until_connection(connection, 1)
    assert connection.client is not None
    assert connection.client.connected_url is not None
    at = connection.client.connected_url.port
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

    async def check(connection: BusConnection) -> None:
        (await serving(cluster, connection)).kill()
        await until_connection(connection, 2)
        await answers(cluster)

    hold(cluster, tmp_path / "creds", check)


def test_a_connection_waits_for_servers_that_come_back(cluster: Bus, tmp_path: Path) -> None:
    """Without any server, the connection is made when a server comes back."""
    write_creds(cluster, tmp_path / "creds")

    async def check(connection: BusConnection) -> None:
        await until_connection(connection, 1)
        for server in cluster.servers:
            server.kill()
        end = time.monotonic() + PATIENCE
        while connection.connected.is_set():
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        cluster.servers[0].start()
        await until_connection(connection, 2)

    hold(cluster, tmp_path / "creds", check)


def test_a_flood_of_errors_fills_no_log(
    cluster: Bus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Messages faster than they are read are an error each, and few of these are logged."""
    write_creds(cluster, tmp_path / "creds")

    async def check(connection: BusConnection) -> None:
        await until_connection(connection, 1)
        assert connection.client is not None
        # Nobody reads it.
        crowded = await connection.client.subscribe(f"sk.host.{HOST}", pending_msgs_limit=1)
        end = time.monotonic() + PATIENCE
        async with cluster.gateway() as gateway:
            while crowded.delivered < 1000:
                assert time.monotonic() < end, "the flood does not arrive"
                for _ in range(200):
                    await gateway.publish(f"sk.host.{HOST}", b"x")
                await gateway.flush()

    hold(cluster, tmp_path / "creds", check)
    assert 0 < len([each for each in caplog.messages if "slow consumer" in each]) < 20


def test_a_token_that_ends_is_followed_by_the_renewed_one(cluster: Bus, tmp_path: Path) -> None:
    """When a token has ended, the connection is made with the token now in the file."""
    write_creds(cluster, tmp_path / "creds", lifetime=3)

    async def check(connection: BusConnection) -> None:
        await until_connection(connection, 1)
        write_creds(cluster, tmp_path / "creds")
        await until_connection(connection, 2)
        await answers(cluster)

    hold(cluster, tmp_path / "creds", check)


@pytest.mark.usefixtures("quick")
def test_a_reading_task_that_is_gone_is_noticed(cluster: Bus, tmp_path: Path) -> None:
    """The connection is made again if nats-py's reading task has ended without a sign."""
    write_creds(cluster, tmp_path / "creds")

    async def check(connection: BusConnection) -> None:
        await until_connection(connection, 1)
        assert connection.client is not None
        assert connection.client._reading_task is not None
        connection.client._reading_task.cancel()
        await until_connection(connection, 2)
        await answers(cluster)

    hold(cluster, tmp_path / "creds", check)


@pytest.mark.usefixtures("quick")
def test_a_server_that_stands_still_is_noticed(cluster: Bus, tmp_path: Path) -> None:
    """When a server keeps the connection but does not answer, another server is taken."""
    write_creds(cluster, tmp_path / "creds")

    async def check(connection: BusConnection) -> None:
        still = await serving(cluster, connection)
        assert still.process is not None
        still.process.send_signal(signal.SIGSTOP)
        try:
            await until_connection(connection, 2)
            gc.collect()  # a connection that is not closed would be reported here
        finally:
            still.process.send_signal(signal.SIGCONT)

    hold(cluster, tmp_path / "creds", check)


@pytest.mark.usefixtures("quick")
def test_stopping_while_connecting_closes_the_socket(cluster: Bus, tmp_path: Path) -> None:
    """With all servers standing still, stopping while connecting leaves no socket open."""
    write_creds(cluster, tmp_path / "creds")
    system = cluster.home.system_access()

    async def run() -> None:
        access = Access(system.servers, system.ca, str(tmp_path / "creds"))
        connection = BusConnection(access, "test")
        task = asyncio.create_task(connection.run())
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
    """A damaged credentials file is tried again until it has been renewed."""
    (tmp_path / "creds").write_text("nothing")

    async def check(connection: BusConnection) -> None:
        await asyncio.sleep(0.5)
        assert connection.client is None
        write_creds(cluster, tmp_path / "creds")
        await until_connection(connection, 1)

    hold(cluster, tmp_path / "creds", check)


def test_a_server_that_is_slow_for_all_is_reached_in_the_end(
    cluster: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that needs longer than the first attempts wait is connected to by a later one."""
    limits = Quick()
    limits.connect_seconds, limits.reconnect_seconds = 0.3, 0.05
    monkeypatch.setattr("agent.fleet.bus.connection.FLEET", limits)
    write_creds(cluster, tmp_path / "creds")
    system = cluster.home.system_access()

    async def run() -> None:
        async with delayed(cluster.servers[0].server.port, 1.0) as slow:
            connection = BusConnection(Access((slow,), system.ca, str(tmp_path / "creds")), "test")
            task = asyncio.create_task(connection.run())
            try:
                await until_connection(connection, 1)
            finally:
                await end(task)

    asyncio.run(run())


def test_a_connection_is_made_to_no_removed_server(cluster: Bus, tmp_path: Path) -> None:
    """When the list is replaced, the next connection is to a server of the new list."""
    write_creds(cluster, tmp_path / "creds")

    async def run() -> None:
        async with delayed(cluster.servers[0].server.port, 0.0) as added:
            system = cluster.home.system_access()
            creds = str(tmp_path / "creds")
            connection = BusConnection(Access(system.servers, system.ca, creds), "test")
            task = asyncio.create_task(connection.run())
            try:
                await until_connection(connection, 1)
                connection.use(Access((added,), system.ca, creds))
                await until_connection(connection, 2)
                assert connection.client is not None
                assert connection.client.connected_url is not None
                assert connection.client.connected_url.geturl() == added
            finally:
                await end(task)

    asyncio.run(run())
