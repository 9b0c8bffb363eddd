"""A host that leaves the fleet leaves no credentials behind that are still good."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nats.errors import Error

from agent.commands.fleet import removal
from agent.commands.options import Options
from agent.fleet.bus import jwt
from agent.fleet.home.home import Home
from agent.fleet.home.registry import SqliteRegistry
from agent.fleet.messages.certificates import HostCertificate
from agent.fleet.messages.documents import ANYBODY, Rejected
from tests.fleet.test_commands import Fleet, JoiningHost
from tests.parts import signed
from tests.parts.bus import PATIENCE, Bus
from tests.parts.daemon import CREDENTIAL
from tests.parts.fleet_member import FleetMember, join_token
from tests.parts.gateway import RunningGateway
from tests.parts.host import work_directory

TAGGED = {
    **CREDENTIAL,
    "access_key_id": "AKIAWEBONLY",
    "allow": {"os_users": ["*"], "tags": {"role": ["web"]}},
}
NUMBERS = iter(range(1, 100))


class Running(Fleet):
    """A home with its server, which tests may stop; its gateway runs where it is started."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.bus = Bus(Home(str(self.folder)), directory)
        self.gateway = RunningGateway(
            directory / "gw", Home(str(self.folder)), credentials=[CREDENTIAL, TAGGED]
        )

    def member(self, directory: Path, instance: str = "") -> JoiningHost:
        """A host that has just joined."""
        number = next(NUMBERS)
        host = JoiningHost(directory / f"host-{number}", instance or f"i-{number:017x}")
        done = host.fleet("join", self.url, self.token(), "--name", f"web-{number}")
        assert done.code == 0, done
        return host

    def may_connect(self, creds: Path) -> bool:
        """Whether the bus accepts these credentials."""

        async def attempt() -> bool:
            try:
                async with self.bus.of_creds(str(creds)) as client:
                    await client.flush()
                    return True
            except Error:
                return False

        return asyncio.run(attempt())


@pytest.fixture(scope="module")
def fleet() -> Iterator[Running]:
    """A running fleet."""
    with work_directory() as directory:
        made = Running(directory)
        with made.bus, made.gateway:
            made.gateway.await_bus()
            yield made


def steal(host: JoiningHost, folder: Path) -> tuple[Path, HostCertificate]:
    """Copies of the host's credentials and certificate, as in a backup."""
    copy = folder / f"{host.folder.parent.name}.creds"
    copy.write_text((host.folder / "host.creds").read_text())
    sealed = (host.folder / "host.cert").read_text().strip().encode()
    return copy, HostCertificate.open(sealed, ANYBODY)


def test_credentials_of_a_host_that_left_are_revoked(fleet: Running, tmp_path: Path) -> None:
    """After `leave`, the home's timer revokes the host's credentials and certificate."""
    host, stays = fleet.member(tmp_path), fleet.member(tmp_path)
    copy, certificate = steal(host, tmp_path)
    assert fleet.may_connect(copy)
    left = host.fleet("leave")
    assert left.code == 0, left
    assert "revokes its credentials within a minute" in left.out
    revoked = fleet.home("remove", "--left")
    assert (revoked.code, certificate.host in revoked.out) == (0, True), revoked
    assert not fleet.may_connect(copy)
    with pytest.raises(Rejected, match="was removed"):
        certificate.check(time.time(), Home(str(fleet.folder)).revoked())
    assert fleet.may_connect(steal(stays, tmp_path)[0])
    again = fleet.home("remove", "--left")
    assert (again.code, again.out, again.err) == (0, "", "")


def test_an_open_connection_of_a_host_that_left_is_closed(fleet: Running, tmp_path: Path) -> None:
    """A connection that was open when the host left is closed by the servers."""
    host = fleet.member(tmp_path)
    copy, _ = steal(host, tmp_path)

    async def attempt() -> None:
        closed = asyncio.Event()

        async def note() -> None:
            closed.set()

        async with fleet.bus.of_creds(str(copy), closed_cb=note, allow_reconnect=False):
            assert (await asyncio.to_thread(host.fleet, "leave")).code == 0
            assert (await asyncio.to_thread(fleet.home, "remove", "--left")).code == 0
            await asyncio.wait_for(closed.wait(), 30)

    asyncio.run(attempt())


def test_when_an_id_is_reused_only_the_first_hosts_keys_are_revoked(
    fleet: Running, tmp_path: Path
) -> None:
    """If another host joins with the id of one that left, only the first one's keys are revoked."""
    first = fleet.member(tmp_path, "i-000000000000000aa")
    copy, _ = steal(first, tmp_path)
    assert first.fleet("leave").code == 0
    second = fleet.member(tmp_path, "i-000000000000000aa")
    assert fleet.home("remove", "--left").code == 0
    assert not fleet.may_connect(copy)
    assert fleet.may_connect(steal(second, tmp_path)[0])
    with SqliteRegistry.for_operator(Home(str(fleet.folder)).facts.registry) as registry:
        assert registry.all_former() == {}


def test_a_host_that_joins_while_root_revokes_keeps_its_membership(
    fleet: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between root's reading of who left and its revocation, a host joins again: it stays in."""
    first = fleet.member(tmp_path, "i-000000000000000bb")
    copy, _ = steal(first, tmp_path)
    keys = {
        "connector.nk": jwt.read_creds(copy.read_text())[1].dump() + "\n",
        "host.key": (first.folder / "host.key").read_text(),
    }
    assert first.fleet("leave").code == 0
    joined: list[JoiningHost] = []
    revoke = Home.revoke

    def join_first(home: Home, gone: Iterable[str], *more: Any) -> str:
        for name, text in keys.items():
            (first.folder / name).write_text(text)
        again = first.fleet("join", fleet.url, fleet.token(), "--name", "web-again")
        assert (again.code, "delete connector.nk" in again.err) == (1, True), again
        joined.append(fleet.member(tmp_path, "i-000000000000000bb"))
        return revoke(home, gone, *more)

    monkeypatch.setattr(Home, "revoke", join_first)
    options, folder = Options(), str(fleet.folder)
    options.add("--left", "")
    options.add("--folder", folder)
    assert removal.ACTIONS["remove"](options, []) == 0
    monkeypatch.undo()
    assert not fleet.may_connect(copy)
    for _ in range(2):
        assert fleet.may_connect(steal(joined[0], tmp_path)[0])
        assert joined[0].fleet("renew").code == 0
        with SqliteRegistry.for_operator(Home(folder).facts.registry) as registry:
            known = {each.certificate.host: each.gone_at for each in registry.hosts()}
        assert known["i-000000000000000bb"] is None
        assert fleet.home("remove", "--left").code == 0


def test_a_revocation_is_sent_when_a_server_is_back(fleet: Running, tmp_path: Path) -> None:
    """While no server runs the command fails, and it sends the revocation the next time."""
    host = fleet.member(tmp_path)
    copy, _ = steal(host, tmp_path)
    assert host.fleet("leave").code == 0
    (server,) = fleet.bus.servers
    server.stop()
    failed = fleet.home("remove", "--left")
    assert (failed.code, "no server of the bus" in failed.err) == (1, True), failed
    server.start()
    assert fleet.home("remove", "--left").code == 0
    assert not fleet.may_connect(copy)


def test_a_host_that_joins_again_is_pushed_to_at_once(fleet: Running, tmp_path: Path) -> None:
    """A host that left and joined again is known by its new membership, whatever was remembered."""

    def push() -> str:
        # By tags, which the gateway remembers from the host's description.
        call = signed.push(InstanceId=member.instance)
        signer = signed.Signer(key=TAGGED["access_key_id"])
        return fleet.gateway.send(signed.sign(call, signer)).code

    token = join_token(fleet.gateway, "--tag", "role=web")
    with FleetMember(tmp_path / "whole", fleet.gateway, token=token) as member:
        # The gateway may still be connecting to the server, which another test restarted.
        end = time.monotonic() + PATIENCE
        while (code := push()) == "ServiceUnavailable":
            assert time.monotonic() < end, "the gateway is not connected"
            time.sleep(0.1)
        assert code == ""
        assert member.command("leave").code == 0
        assert fleet.home("remove", "--left").code == 0
        member.command("join", "--name", "web-1", fleet.gateway.url, token)
        member.follow()
        assert push() == ""


def test_leaving_works_without_a_gateway(fleet: Running, tmp_path: Path) -> None:
    """If no gateway can be reached the host leaves, and is told what to run at the home."""
    host = fleet.member(tmp_path)
    copy, certificate = steal(host, tmp_path)
    fleet.gateway.stop()
    try:
        left = host.fleet("leave")
        assert (left.code, host.section, list(host.folder.iterdir())) == (0, None, [])
        assert "may still be valid" in left.out
        command = f"sixtykey fleet remove {certificate.host}"
        assert left.out.rstrip().endswith(command)
        assert fleet.may_connect(copy)
        assert fleet.home(*command.split()[2:]).code == 0
        assert not fleet.may_connect(copy)
    finally:
        fleet.gateway.start()
