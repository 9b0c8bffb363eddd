"""agent/fleet/bus/caller.py: a gateway's requests over a real server of the bus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Optional

import pytest
from nats.aio.msg import Msg

from agent.fleet.bus import nats_client
from agent.fleet.bus.access import Access
from agent.fleet.bus.caller import BusCaller, NoAnswer, NobodyThere
from agent.fleet.bus.connection import BusConnection
from agent.fleet.bus.guarded_client import GuardedClient
from agent.fleet.home.home import gateway_name
from agent.fleet.messages.lease_exchange import SUBJECT
from agent.host.serving import end
from tests.parts.bus import PATIENCE, Bus, settle
from tests.parts.fleet_host import FleetHost

ABSENT = SUBJECT + "i-0000000000000ffff"


@asynccontextmanager
async def calling(bus: Bus, patience: float = PATIENCE) -> AsyncIterator[BusCaller]:
    """A caller over a connection to the bus, with the first gateway's credentials."""
    folder = Path(bus.home.folder)
    servers = tuple(server.url for server in bus.home.facts.servers)
    access = Access(servers, str(folder / "ca.pem"), str(folder / "gateway.creds"))
    name = gateway_name(bus.home.facts.gateways[0])
    connection = BusConnection(access, name, inbox=f"_INBOX.{name}")
    task = asyncio.create_task(connection.run())
    try:
        await asyncio.wait_for(connection.connected.wait(), PATIENCE)
        yield BusCaller(connection, patience)
    finally:
        await end(task)


def test_each_of_many_requests_gets_its_own_answer(bus: Bus, directory: Path) -> None:
    """Of many requests in flight, each gets the answer to itself, in whatever order they come."""

    async def many() -> None:
        async with calling(bus) as caller:
            said = await asyncio.gather(
                *(caller.ask(SUBJECT + host.instance, b"%d" % number) for number in range(100))
            )
        assert said == [b"to %d" % number for number in range(100)]

    def answer(_: FleetHost, message: bytes) -> bytes:
        # Later requests are answered sooner, where they wait in several threads.
        time.sleep(0.001 * (int(message) % 7))
        return b"to " + message

    with FleetHost(bus.home, directory, "i-0000000000000ca11", answer=answer) as host:
        asyncio.run(many())


def test_an_absent_host_is_told_at_once_and_a_silent_one_after_a_while(
    bus: Bus, directory: Path
) -> None:
    """Nobody there is NobodyThere; a host that says nothing is NoAnswer, and holds nothing up."""

    async def ask() -> None:
        async with calling(bus, patience=0.3) as caller:
            with pytest.raises(NobodyThere):
                await caller.ask(ABSENT, b"1")
            with pytest.raises(NoAnswer, match="no answer"):
                await caller.ask(SUBJECT + host.instance, b"silent")
            assert await caller.ask(SUBJECT + host.instance, b"2") == b"2"
            assert not caller._waiting

    def answer(_: FleetHost, message: bytes) -> Optional[bytes]:
        return None if message == b"silent" else message

    with FleetHost(bus.home, directory, "i-0000000000000ca12", answer=answer) as host:
        asyncio.run(ask())


def test_late_and_repeated_answers_are_dropped(bus: Bus) -> None:
    """An answer to nothing, or a second one, changes no other request's answer."""

    async def repeat() -> None:
        async with calling(bus) as caller:
            client: Any = caller._bus.client
            await caller.listen(client)
            message = Msg(client, subject=f"{caller._inbox}.7", data=b"late")
            await caller._hear(message)
            waiting = caller._waiting[message.subject] = asyncio.get_running_loop().create_future()
            await caller._hear(message)
            await caller._hear(Msg(client, subject=message.subject, data=b"second"))
            assert (await waiting).data == b"late"

    asyncio.run(repeat())


def test_requests_go_on_over_a_new_connection(bus: Bus, directory: Path) -> None:
    """After the connection was lost, requests use the new one and its inbox."""

    async def lose() -> None:
        async with calling(bus) as caller:
            assert await caller.ask(SUBJECT + host.instance, b"1") == b"1"
            before = caller._bus.client
            assert before is not None
            await before.close()
            while caller._bus.client in (None, before):
                await asyncio.sleep(0.01)
            assert await caller.ask(SUBJECT + host.instance, b"2") == b"2"
            with pytest.raises(NobodyThere):
                await caller.ask(ABSENT, b"3")

    with FleetHost(bus.home, directory, "i-0000000000000ca13", answer=lambda _, said: said) as host:
        asyncio.run(lose())


def test_without_a_connection_the_bus_is_not_reachable(bus: Bus) -> None:
    """Without a connection there is no answer, and the text says why."""
    caller = BusCaller(BusConnection(bus.home.system_access(), "test"))
    assert not caller.ready
    with pytest.raises(NoAnswer, match="not reachable"):
        asyncio.run(caller.ask(ABSENT, b"1"))


@pytest.mark.parametrize(
    "headers",
    [
        b"NATS/1.0 \xff\xff\xff\r\n\r\n",
        b"NATS/1.0",
        b"NATS/1.0 ",
        b"NATS/1.0\r\n\xff: \xff\r\n\r\n",
    ],
    ids=ascii,
)
def test_no_hosts_answer_makes_a_gateway_deaf(bus: Bus, directory: Path, headers: bytes) -> None:
    """A host that answers with malformed headers ends no connection of a gateway to the bus.

    nats-py would stop reading, and answers of all other hosts would be lost for some seconds.
    """
    honest = FleetHost(bus.home, directory, "i-0000000000000ca14", answer=lambda _, said: said)
    robbed = FleetHost(bus.home, directory, "i-0000000000000ca15")

    async def attempt() -> None:
        heard = asyncio.Event()
        async with calling(bus) as caller, bus.of_creds(str(robbed.creds)) as thief:

            async def lie(message: Msg) -> None:
                size = len(headers)
                frame = f"HPUB {message.reply} {size} {size}\r\n".encode() + headers + b"\r\n"
                await thief._send_command(frame)
                await thief.flush(int(PATIENCE))
                heard.set()

            await thief.subscribe(SUBJECT + robbed.instance, cb=lie)
            await settle(thief)
            asked = asyncio.create_task(caller.ask(SUBJECT + robbed.instance, b"x"))
            await asyncio.wait_for(heard.wait(), PATIENCE)
            assert await caller.ask(SUBJECT + honest.instance, b"to all") == b"to all"
            assert caller._bus.connections == 1
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)

    with honest:
        asyncio.run(attempt())


def test_what_a_message_makes_fail_is_not_repeated(bus: Bus) -> None:
    """The error of a message that cannot be read is short: it does not quote the message."""
    errors: list[str] = []

    async def note(error: Exception) -> None:
        errors.append(str(error))

    async def attempt() -> None:
        client = GuardedClient()
        arguments = nats_client.options(bus.home.system_access())
        await client.connect(**arguments, error_cb=note)
        subscription = await client.subscribe("x")
        headers = b"NATS/1.0 " + b"\xff" * 50_000 + b"\r\n\r\n"
        await client._process_msg(subscription._id, b"x", b"", b"", headers)
        await client.close()

    asyncio.run(attempt())
    assert errors == ["a message is not readable (UnicodeDecodeError)"]
