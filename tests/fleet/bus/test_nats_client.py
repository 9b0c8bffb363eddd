"""A removed host is off the bus at once, on every server, also after a server's restart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nats.errors import Error

from agent.fleet.bus import jwt, nats_client, nkeys, roles
from agent.fleet.bus.access import Access
from agent.fleet.bus.jwt import Times
from agent.fleet.bus.nats_client import Unreachable
from agent.fleet.bus.nkeys import KeyPair
from agent.fleet.home.home import Home
from tests.parts.bus import PATIENCE, Bus, make_home
from tests.parts.host import free_port, work_directory
from tests.parts.waiting import wait_until

HOST = "i-00000000000000001"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Bus]:
    """A cluster of three servers."""
    with work_directory() as directory, Bus(make_home(directory, 3), directory) as running:
        yield running


def system(home: Home) -> Access:
    """The system account's access to the bus of this home."""
    return home.system_access()


def member(home: Home) -> tuple[str, KeyPair]:
    """A host's token and key."""
    key = KeyPair.generate(nkeys.USER)
    signer = KeyPair.parse(home.file("host-signer.nk"), nkeys.ACCOUNT)
    # A revocation also covers what was issued in the same second.
    times = Times(int(time.time()) - 1, int(time.time()) + 3600)
    return roles.user(signer, home.facts.account.identity, HOST, key.public, times), key


def at(cluster: Bus, place: int, token: str, key: KeyPair) -> Any:
    """A client connected to one of the servers."""
    return cluster.client(token, key, servers=[cluster.servers[place].server.url])


async def until(done: Any) -> None:
    """Wait until the condition holds."""
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end, "it does not come about"
        await asyncio.sleep(0.05)


def is_refused(cluster: Bus, place: int, token: str, key: KeyPair) -> bool:
    """Whether this server refuses this client."""

    async def attempt() -> bool:
        try:
            async with at(cluster, place, token, key):
                return False
        except Error:
            return True

    return asyncio.run(attempt())


def names(cluster: Bus) -> list[str]:
    """The servers' names."""
    return sorted(each.server.folder for each in cluster.servers)


def revoke(cluster: Bus, *gone: str) -> list[str]:
    """Revoke these nkeys on all servers; return the servers that took it."""
    token = cluster.home.revoke(gone, time.time())
    told = nats_client.update_account(system(cluster.home), token, names(cluster))
    return list(asyncio.run(told).accepted)


def test_the_servers_are_one_cluster(cluster: Bus) -> None:
    """A request at one server reaches a host at another."""
    token, key = member(cluster.home)

    async def ask() -> bytes:
        async with at(cluster, 0, token, key) as host, cluster.gateway() as gateway:
            await host.subscribe(f"sk.host.{HOST}", cb=_echo)
            await host.flush()
            for _ in range(100):
                try:
                    return bytes((await gateway.request(f"sk.host.{HOST}", b"x", timeout=5)).data)
                except Error:  # the subscription has not spread yet
                    await asyncio.sleep(0.05)
            return b""

    assert asyncio.run(ask()) == b"x"


async def _echo(message: Any) -> None:
    await message.respond(message.data)


def test_a_removed_host_is_off_at_once_everywhere(cluster: Bus) -> None:
    """A removed host is disconnected and refused by every server; other hosts stay."""
    gone, stays = member(cluster.home), member(cluster.home)

    async def remove() -> list[str]:
        async with at(cluster, 0, *gone) as lost, at(cluster, 0, *stays) as kept:
            access = system(cluster.home)
            token = cluster.home.revoke([gone[1].public], time.time())
            took = await nats_client.update_account(access, token, names(cluster))
            await until(lambda: lost.is_closed)
            await kept.flush()
            return list(took.accepted)

    assert asyncio.run(remove()) == names(cluster)
    assert [is_refused(cluster, place, *gone) for place in range(3)] == [True] * 3
    assert [is_refused(cluster, place, *stays) for place in range(3)] == [False] * 3


def test_a_server_that_starts_again_still_refuses(cluster: Bus) -> None:
    """A restarted server refuses removed hosts, also those removed while it was down."""
    first, second = member(cluster.home), member(cluster.home)
    revoke(cluster, first[1].public)
    server = cluster.servers[2]
    server.kill()
    assert len(revoke(cluster, second[1].public)) == 2
    server.start()
    assert is_refused(cluster, 2, *first)
    wait_until(lambda: is_refused(cluster, 2, *second), lambda: "it is never told", pause=0.1)


def test_revocations_end_when_there_is_nothing_left_to_revoke(cluster: Bus) -> None:
    """A revocation leaves the account's token when nothing that it covers can be renewed."""
    long_ago = time.time() - 2 * 98 * 86_400
    old, new = KeyPair.generate(nkeys.USER).public, KeyPair.generate(nkeys.USER).public
    assert old in _revoked(cluster, cluster.home.revoke([old], long_ago))
    now = _revoked(cluster, cluster.home.revoke([new], time.time()))
    assert new in now
    assert old not in now


def test_each_token_of_the_account_is_newer(cluster: Bus) -> None:
    """Each account token has a later second than the one before, so servers can order them."""
    now, signer = time.time(), cluster.home.facts.operator_signer
    made = [jwt.decode(cluster.home.revoke([], now), signer, "account") for _ in range(3)]
    first, second, third = (claims.times.issued_at for claims in made)
    assert first < second < third


def test_a_token_by_another_operator_lets_nobody_in(cluster: Bus) -> None:
    """Servers ignore an account token of another operator, although they acknowledge it."""
    stranger, gone = KeyPair.generate(nkeys.OPERATOR), member(cluster.home)
    revoke(cluster, gone[1].public)
    forged = roles.account(stranger, cluster.home.facts.account, {}, int(time.time()))
    asyncio.run(nats_client.update_account(system(cluster.home), forged, names(cluster)))
    assert [is_refused(cluster, place, *gone) for place in range(3)] == [True] * 3


def test_an_unreachable_bus_is_reported() -> None:
    """If no server can be reached, Unreachable is raised with a message that says so."""
    with work_directory() as directory:
        home = make_home(directory)
        access = Access((f"tls://127.0.0.1:{free_port()}",), *_files(home))
        with pytest.raises(Unreachable, match="no server of the bus can be reached"):
            asyncio.run(nats_client.connect_once(access))


def test_a_server_with_another_certificate_is_refused(cluster: Bus) -> None:
    """A server with a certificate of another authority is refused."""
    with work_directory() as directory:
        other = make_home(directory)
        access = Access((cluster.servers[0].server.url,), *_files(other))
        with pytest.raises(Unreachable, match=r"(?i)certificate"):
            asyncio.run(nats_client.connect_once(access))


def test_only_a_nonce_is_signed(cluster: Bus) -> None:
    """A client signs only text in the form of a nonce for a server."""
    sign = nats_client.options(system(cluster.home))["signature_cb"]
    assert len(sign("tAvk27lkLMKK90U")) == 88
    for asked in ("sixtykey fleet 1 renewal\0{}", "a" * 129, "", "abc def ghi"):
        with pytest.raises(Error):
            sign(asked)


def _revoked(cluster: Bus, token: str) -> dict[str, int]:
    signer = cluster.home.facts.operator_signer
    return roles.revocations(jwt.decode(token, signer, "account"))


def _files(home: Home) -> tuple[str, str]:
    return system(home).ca, system(home).creds


def test_credentials_are_read_for_each_connection(cluster: Bus, directory: Path) -> None:
    """Renewed credentials are used from the next connection on, without a restart."""
    path = directory / "host.creds"
    first, second = member(cluster.home), member(cluster.home)
    path.write_text(jwt.creds(*first))
    options = nats_client.options(Access(("tls://x:1",), system(cluster.home).ca, str(path)))
    path.write_text(jwt.creds(*second))
    assert options["user_jwt_cb"]().decode() == second[0]
