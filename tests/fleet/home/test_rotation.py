"""The issuer's key is rotated while pushes go on, and no push is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.parts import command
from tests.parts.bus import Bus, gateway_url, make_home
from tests.parts.fleet_member import FleetMember
from tests.parts.gateway import RunningGateway
from tests.parts.host import work_directory


class Fleet:
    """A gateway and a host that has joined."""

    def __init__(self, gateway: RunningGateway, host: FleetMember) -> None:
        self.gateway = gateway
        self.host = host

    def rotate(self, *words: str) -> command.Done:
        """Run `sixtykey fleet rotate`, and then reload the gateway."""
        done = command.run(
            "fleet", "rotate", "--json", "--folder", self.gateway.home.folder, *words
        )
        self.gateway.reload()
        return done

    def renew(self) -> None:
        """Renew the host as its timer does each day."""
        self.host.command("renew")
        self.host.follow()

    def issuers(self) -> list[str]:
        """The issuers that the host accepts."""
        found: list[str] = self.host.settings()["fleet"]["issuers"]
        return found


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """A running fleet."""
    with work_directory() as directory:
        home = make_home(directory, gateways=[gateway_url()])
        with Bus(home, directory), RunningGateway(directory / "gw", home) as gateway:
            gateway.await_bus()
            with FleetMember(directory / "host", gateway) as host:
                yield Fleet(gateway, host)


def test_a_rotation_refuses_no_push(fleet: Fleet) -> None:
    """Pushes work after every step of a rotation, and in the end only the new key is used."""
    (first,) = fleet.issuers()
    steps = []
    for _ in range(3):
        done = fleet.rotate()
        assert done.code == 0, done
        steps.append(done.json["Stage"])
        assert fleet.gateway.push().code == "", "before the host has renewed"
        fleet.renew()
        assert fleet.gateway.push().code == "", "after the host has renewed"
    assert steps == ["introduced", "swapped", "none"]
    (last,) = fleet.issuers()
    assert last != first
    signed_by = fleet.host.daemon.audit(event="push", outcome="allowed")
    assert [signed_by[0]["issuer"], signed_by[-1]["issuer"]] == [first, last]


def test_a_step_waits_for_every_host(fleet: Fleet) -> None:
    """A step is refused, and names the host, while a host has not renewed."""
    assert fleet.rotate().code == 0
    early = fleet.rotate()
    assert (early.code, early.json["Error"]) == (1, "NotYet")
    assert fleet.host.instance in early.json["Message"]
    fleet.renew()
    assert fleet.rotate().code == 0
    assert fleet.gateway.push().code == ""
