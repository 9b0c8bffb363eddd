"""The issuer's key changes while pushes go on: two issuers at a time, and no push is refused."""

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
        """`sixtykey fleet rotate`, and then what it says is to be done at the gateway."""
        done = command.run(
            "fleet", "rotate", "--json", "--folder", self.gateway.home.folder, *words
        )
        self.gateway.reload()
        return done

    def renew(self) -> None:
        """What the host's timer does each day: `sixtykey fleet renew --restart`."""
        self.host.command("renew")
        self.host.follow()

    def issuers(self) -> list[str]:
        """Those that the host takes."""
        found: list[str] = self.host.settings()["fleet"]["issuers"]
        return found


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """All of it, running."""
    with work_directory() as directory:
        home = make_home(directory, gateways=[gateway_url()])
        with Bus(home, directory), RunningGateway(directory / "gw", home) as gateway:
            gateway.await_bus()
            with FleetMember(directory / "host", gateway) as host:
                yield Fleet(gateway, host)


def test_a_rotation_refuses_no_push(fleet: Fleet) -> None:
    """Introduce, swap, retire: pushes go on after every step, and the old key counts no more."""
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
    """A host that has not renewed would be locked out: it is named, and nothing changes."""
    assert fleet.rotate().code == 0
    early = fleet.rotate()
    assert (early.code, early.json["Error"]) == (1, "NotYet")
    assert fleet.host.instance in early.json["Message"]
    fleet.renew()
    assert fleet.rotate().code == 0
    assert fleet.gateway.push().code == ""
