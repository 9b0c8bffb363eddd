"""The same request sent again: by any gateway, after any restart, and with different clocks."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.faults.test_time import Shift
from tests.parts import signed
from tests.parts.host import work_directory
from tests.parts.whole_fleet import WholeFleet, live, revoke, served


class Clocks:
    """A whole fleet whose second gateway's clock can be set."""

    def __init__(self, fleet: WholeFleet, shift: Shift) -> None:
        self.fleet = fleet
        self.shift = shift


@pytest.fixture(scope="module")
def running() -> Iterator[Clocks]:
    """A whole fleet, with a second gateway whose clock can be shifted."""
    with work_directory() as directory:
        shift = Shift(directory)
        with WholeFleet(directory, environments=({}, shift.environment)) as fleet:
            yield Clocks(fleet, shift)


@pytest.fixture
def clocks(running: Clocks) -> Iterator[Clocks]:
    """The same fleet, with the clock set right again after each test."""
    yield running
    running.shift.set(0.0)


def left(clocks: Clocks, user: str) -> list[float]:
    """The remaining lifetimes of the user's keys in seconds."""
    return [each["SecondsLeft"] for each in live(clocks.fleet.member) if each["OSUser"] == user]


def test_a_request_sent_to_every_gateway_is_one_push(clocks: Clocks) -> None:
    """A request captured and sent to every gateway stays one push, and its key lives no longer."""
    call = signed.sign(signed.push(InstanceOSUser="ann"))
    first = clocks.fleet.gateways[0].send(call)
    assert first.code == ""
    lines, before = served(clocks.fleet.member, "ann"), left(clocks, "ann")
    for gateway in (*clocks.fleet.gateways, *clocks.fleet.gateways):
        again = gateway.send(call)
        assert (again.code, again.request_id) == ("", first.request_id)
    assert served(clocks.fleet.member, "ann") == lines
    assert [each < before[0] for each in left(clocks, "ann")] == [True]


def test_a_request_is_one_push_after_restarts_too(clocks: Clocks) -> None:
    """After restarts of daemon and gateways a request sent again is still the same push."""
    call = signed.sign(signed.push(InstanceOSUser="bea"))
    first = clocks.fleet.gateways[0].send(call)
    assert first.code == ""
    lines, before = served(clocks.fleet.member, "bea"), left(clocks, "bea")
    clocks.fleet.member.daemon.kill()
    clocks.fleet.member.daemon.start()
    for gateway in clocks.fleet.gateways:
        gateway.kill()
        gateway.start()
    for gateway in clocks.fleet.gateways:
        again = clocks.fleet.push_until_heard(gateway, call)
        assert (again.code, again.request_id) == ("", first.request_id)
    assert served(clocks.fleet.member, "bea") == lines
    assert [each < before[0] for each in left(clocks, "bea")] == [True]


def test_a_key_that_has_ended_is_not_brought_back(clocks: Clocks) -> None:
    """A request sent again does not bring back its revoked key."""
    call = signed.sign(signed.push(InstanceOSUser="cyd"))
    first = clocks.fleet.gateways[0].send(call)
    assert first.code == ""
    revoke(clocks.fleet.member, "cyd")
    for gateway in clocks.fleet.gateways:
        again = gateway.send(call)
        assert (again.code, again.request_id) == ("", first.request_id)
    assert served(clocks.fleet.member, "cyd") == ""


@pytest.mark.parametrize("apart", [-4.0, 4.0])
def test_clocks_that_are_five_seconds_apart_work(clocks: Clocks, apart: float) -> None:
    """With clocks 4 s apart a push is served, for no longer than a minute."""
    clocks.shift.set(apart)
    answer = clocks.fleet.gateways[1].push(InstanceOSUser="dot")
    assert answer.code == ""
    assert answer.request_id in served(clocks.fleet.member, "dot")
    assert all(each <= 60.0 for each in left(clocks, "dot"))


@pytest.mark.parametrize("apart", [-3600.0, -30.0, -8.0, 7.0, 30.0, 3600.0])
def test_clocks_further_apart_are_refused_with_a_reason(clocks: Clocks, apart: float) -> None:
    """With clocks further apart a push is refused with a message about clocks and NTP."""
    clocks.shift.set(apart)
    # Signed by the gateway's clock, so that only the gateway's and the host's clock differ.
    signer = signed.Signer(at=time.time() + apart)
    call = signed.sign(signed.push(InstanceOSUser="eve"), signer)
    answer = clocks.fleet.gateways[1].send(call)
    assert (answer.status, answer.code) == (503, "ServiceUnavailable")
    words = answer.body["Message"]
    assert all(
        each in words for each in ("clocks are more than 5 s apart", "synchronize both with NTP")
    )
    assert served(clocks.fleet.member, "eve") == ""
    record = clocks.fleet.member.daemon.await_audit(event="push", os_user="eve")
    assert "clocks" in record["reason"]
