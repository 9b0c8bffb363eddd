"""Roles on the bus, enforced by a real nats-server: what each may do, and who is refused."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from nats.aio.client import Client
from nats.errors import Error, NoRespondersError
from nats.errors import TimeoutError as NoAnswer

from agent.config.fleet_limits import FLEET
from agent.fleet.bus import jwt, nkeys, roles
from agent.fleet.bus.jwt import Claims, Times
from agent.fleet.bus.nkeys import KeyPair
from tests.parts.bus import PATIENCE, Bus, Errors, settle

MINE, OTHERS = "i-00000000000000001", "i-00000000000000002"
HOUR = 3600


def signer(bus: Bus) -> KeyPair:
    """The signing key for hosts' tokens."""
    return KeyPair.parse(bus.home.file("host-signer.nk"), nkeys.ACCOUNT)


def host_token(bus: Bus, nkey: str, name: str = MINE, ends: float = HOUR, **claims: Any) -> str:
    """A host's token, with additional claims if any are given."""
    now = time.time()
    account = bus.home.facts.account.identity
    times = Times(int(now) - HOUR if ends < 0 else int(now), int(now + ends))
    if not claims:
        return roles.user(signer(bus), account, name, nkey, times)
    nats = {"issuer_account": account, "pub": {}, "sub": {}, **claims}
    return jwt.encode(Claims(nkey, name, times, nats), signer(bus), "user")


def host(bus: Bus, name: str = MINE, **options: Any) -> Any:
    """A client with this host's credentials."""
    key = KeyPair.generate(nkeys.USER)
    return bus.client(host_token(bus, key.public, name), key, **options)


def expect_refused(bus: Bus, token: str, key: KeyPair) -> None:
    """Check that the server refuses this client."""

    async def attempt() -> None:
        async with bus.client(token, key, max_reconnect_attempts=0):
            pass

    with pytest.raises(Error):
        asyncio.run(attempt())


def test_a_gateway_asks_and_a_host_answers(bus: Bus) -> None:
    """A gateway's request reaches its host, and one for an absent host fails at once."""

    async def ask() -> bytes:
        async with host(bus) as mine, bus.gateway() as gateway:
            await mine.subscribe(roles.HOST_SUBJECT.replace("{{name()}}", MINE), cb=_echo)
            await settle(mine)
            with pytest.raises(NoRespondersError):
                await gateway.request(f"sk.host.{OTHERS}", b"x", timeout=30)
            return bytes((await gateway.request(f"sk.host.{MINE}", b"lease", timeout=30)).data)

    assert asyncio.run(ask()) == b"lease"


async def _echo(message: Any) -> None:
    await message.respond(message.data)


@pytest.mark.parametrize(
    "subject", [f"sk.host.{OTHERS}", "sk.host.*", "sk.>", ">", "*", "_INBOX.>", "$SYS.>", "sk.host"]
)
def test_a_stolen_host_hears_nothing_of_others(bus: Bus, subject: str) -> None:
    """A host's credentials cannot subscribe to any subject except its own."""

    async def attempt() -> list[str]:
        errors = Errors()
        async with host(bus, errors=errors) as stolen, host(bus, OTHERS) as other:
            await other.subscribe(f"sk.host.{OTHERS}", cb=_echo)
            heard: list[bytes] = []

            async def hear(message: Any) -> None:
                heard.append(message.data)

            await stolen.subscribe(subject, cb=hear)
            await errors.wait_for("permissions violation for subscription")
            async with bus.gateway() as gateway:
                await gateway.request(f"sk.host.{OTHERS}", b"for the other", timeout=30)
            await stolen.flush()
            assert heard == []
            return errors

    assert subject.lower() in asyncio.run(attempt())[0]


@pytest.mark.parametrize(
    "subject", [f"sk.host.{MINE}", f"sk.host.{OTHERS}", "_INBOX.127-0-0-1-8443.x.y", "$SYS.REQ.X"]
)
def test_a_stolen_host_sends_nothing(bus: Bus, subject: str) -> None:
    """A host's credentials cannot publish except to answer a message."""

    async def attempt() -> None:
        errors = Errors()
        async with host(bus, errors=errors) as stolen:
            await stolen.publish(subject, b"x")
            await errors.wait_for("permissions violation for publish")

    asyncio.run(attempt())


def test_a_message_may_be_answered_once(bus: Bus) -> None:
    """A host may answer a message only once."""

    async def ask() -> None:
        errors = Errors()

        async def twice(message: Any) -> None:
            await message.respond(b"1")
            await message.respond(b"2")

        async with host(bus, errors=errors) as mine, bus.gateway() as gateway:
            await mine.subscribe(f"sk.host.{MINE}", cb=twice)
            await settle(mine)
            assert (await gateway.request(f"sk.host.{MINE}", b"x", timeout=30)).data == b"1"
            await errors.wait_for("permissions violation for publish")

    asyncio.run(ask())


def test_a_gateway_hears_its_own_inbox_only(bus: Bus) -> None:
    """A gateway cannot subscribe to hosts' subjects or to another gateway's inbox."""

    async def attempt(subject: str) -> None:
        errors = Errors()
        path = f"{bus.home.folder}/gateway.creds"
        async with bus.of_creds(path, errors=errors) as gateway:
            await gateway.subscribe(subject, cb=_echo)
            await errors.wait_for("permissions violation for subscription")

    for subject in (f"sk.host.{MINE}", "_INBOX.>", "_INBOX.other.>", ">"):
        asyncio.run(attempt(subject))


def test_a_gateway_learns_who_is_connected(bus: Bus) -> None:
    """A gateway can ask the server for the connections and subjects of its account."""

    async def ask() -> str:
        async with host(bus) as mine, bus.gateway() as gateway:
            await mine.subscribe(f"sk.host.{MINE}", cb=_echo)
            await settle(mine)
            question = b'{"subscriptions":true}'
            return str((await gateway.request(roles.CONNECTIONS, question, timeout=30)).data)

    assert f"sk.host.{MINE}" in asyncio.run(ask())


def test_an_expired_token_is_refused(bus: Bus) -> None:
    """A token that has expired is refused."""
    key = KeyPair.generate(nkeys.USER)
    expect_refused(bus, host_token(bus, key.public, ends=-1), key)


def test_a_token_that_ends_ends_its_connection(bus: Bus) -> None:
    """The server closes a connection when its token expires, and refuses that token."""
    key = KeyPair.generate(nkeys.USER)
    token = host_token(bus, key.public, ends=2)

    async def wait() -> None:
        async with bus.client(token, key) as client:
            await client.flush()
            await until_closed(client)

    asyncio.run(wait())
    # The server counts whole seconds: the token may be valid until the current one is over.
    time.sleep(1)
    expect_refused(bus, token, key)


async def until_closed(client: Client) -> None:
    """Wait until the server has closed the connection."""
    end = time.monotonic() + PATIENCE
    while not client.is_closed:
        assert time.monotonic() < end, "the server does not close the connection"
        await asyncio.sleep(0.05)


def test_somebody_elses_token_is_refused(bus: Bus) -> None:
    """A token is refused without the key that it names."""
    expect_refused(
        bus, host_token(bus, KeyPair.generate(nkeys.USER).public), KeyPair.generate(nkeys.USER)
    )


def test_a_token_by_another_key_is_refused(bus: Bus) -> None:
    """A user token by an unknown key, or by the account's own or the system's key, is refused."""
    key, account = KeyPair.generate(nkeys.USER), bus.home.facts.account.identity
    times = Times(int(time.time()), int(time.time()) + HOUR)
    for by in (
        KeyPair.generate(nkeys.ACCOUNT),
        KeyPair.parse(bus.home.secret("account.nk"), nkeys.ACCOUNT),
        KeyPair.parse(bus.home.secret("system-signer.nk"), nkeys.ACCOUNT),
    ):
        expect_refused(bus, roles.user(by, account, MINE, key.public, times), key)


@pytest.mark.parametrize(
    "claims",
    [
        {"pub": {"allow": [">"]}},
        {"sub": {"allow": [">"]}},
        {"subs": -1},
        {"bearer_token": True},
        {"resp": {"max": -1, "ttl": 0}},
    ],
    ids=str,
)
def test_a_token_that_gives_itself_more_is_refused(bus: Bus, claims: dict[str, Any]) -> None:
    """A token that claims more rights than its scope is refused."""
    key = KeyPair.generate(nkeys.USER)
    expect_refused(bus, host_token(bus, key.public, **claims), key)


def test_a_host_cannot_hold_many_subscriptions(bus: Bus) -> None:
    """A host with more subscriptions than its scope allows is disconnected."""

    async def attempt() -> None:
        async with host(bus) as stolen:
            for _ in range(FLEET.host_subscriptions + 1):
                await stolen.subscribe(f"sk.host.{MINE}", cb=_echo)
            await until_closed(stolen)

    asyncio.run(attempt())
    # The server writes it after it has told the client.
    end = time.monotonic() + PATIENCE
    while "maximum subscriptions exceeded" not in bus.servers[0].log():
        assert time.monotonic() < end, "the server closes the connection for another reason"
        time.sleep(0.02)


def test_a_host_that_is_silent_is_no_answer(bus: Bus) -> None:
    """A request to a silent host ends at its timeout with an error different from absence."""

    async def ask() -> None:
        async with host(bus) as mine, bus.gateway() as gateway:
            await mine.subscribe(f"sk.host.{MINE}", cb=_nothing)
            await settle(mine)
            with pytest.raises(NoAnswer):
                await gateway.request(f"sk.host.{MINE}", b"x", timeout=0.2)

    async def _nothing(message: Any) -> None:
        del message

    asyncio.run(ask())
