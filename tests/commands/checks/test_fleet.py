"""`sixtykey check` on a member of a fleet: connector, membership, gateways and clock."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, Callable

import pytest
import yaml

from agent.commands.checks import fleet as checked
from agent.commands.checks.finding import Finding
from agent.config import file as config_file
from agent.config.fleet_limits import FLEET
from agent.config.settings import Config
from agent.fleet.messages.signing import PrivateKey
from tests.parts import command, signed
from tests.parts.daemon import INSTANCE_ID
from tests.parts.host import work_directory
from tests.parts.raw import Raw
from tests.parts.whole_fleet import WholeFleet

DAY = 86_400


@pytest.fixture(scope="module")
def fleet() -> Iterator[WholeFleet]:
    """A whole fleet with one member and one gateway."""
    with work_directory() as directory, WholeFleet(directory, gateways=1) as running:
        yield running


def check(fleet: WholeFleet) -> dict[str, dict[str, str]]:
    """The findings of `sixtykey check --json` about the fleet, by name."""
    done = command.run("check", "--json", "--config", str(fleet.member.daemon.config_file))
    assert done.out, done
    return {
        each["Name"]: each for each in done.json["Findings"] if each["Name"].startswith("fleet")
    }


def status(fleet: WholeFleet) -> dict[str, Any]:
    """The daemon's status."""
    call = signed.Call(body=b"{}").having("X-Amz-Target", "Sixtykey.Status")
    with Raw(fleet.member.daemon.push_socket) as raw:
        return raw.send(call.raw()).answer().body


def look(
    fleet: WholeFleet,
    change: Callable[[dict[str, Any]], object] = lambda _: None,
    wall: Callable[[], float] = time.time,
) -> dict[str, Finding]:
    """The findings by name, with the configuration's fleet section changed and another clock."""
    settings = fleet.member.settings()
    change(settings["fleet"])
    path = fleet.member.directory / "changed.yaml"
    path.write_text(yaml.safe_dump(settings))
    config = config_file.load(str(path))
    return {each.name: each for each in checked.membership(config, status(fleet), wall)}


def test_a_healthy_member_has_no_finding(fleet: WholeFleet) -> None:
    """A member that is well gives no finding, and a fact: its name, and for how long."""
    assert check(fleet) == {}
    found = look(fleet)
    assert list(found) == ["fleet"]
    assert "member of a fleet as host-0" in found["fleet"].what
    done = command.run("check", "--config", str(fleet.member.daemon.config_file))
    assert "member of a fleet as host-0" in done.out


def test_a_host_of_no_fleet_is_not_asked(fleet: WholeFleet) -> None:
    """Without a fleet section there is no finding."""
    assert list(checked.membership(Config(), status(fleet))) == []


def test_a_connector_that_is_away_is_a_fault(fleet: WholeFleet) -> None:
    """A dead connector is a fault with the command that starts it; and so is a lost bus."""
    connector = fleet.member.connector
    connector.kill()
    try:
        found = check(fleet)["fleet-not-connected"]
        assert found["Severity"] == "fault"
        assert "sixtykeyd-fleet is not connected" in found["What"]
        assert "systemctl enable --now sixtykeyd-fleet" in found["Remedy"]
    finally:
        connector.begin()
    (server,) = fleet.bus.servers
    server.stop()
    try:
        end = time.monotonic() + 60
        while "the bus is not reachable" not in str(check(fleet).get("fleet-not-connected")):
            assert time.monotonic() < end
    finally:
        server.start()
    end = time.monotonic() + 60
    while check(fleet):
        assert time.monotonic() < end


def test_a_daemon_that_does_not_know_of_the_fleet_is_a_fault(fleet: WholeFleet) -> None:
    """A daemon that was started before the host joined is to be restarted."""
    config = config_file.load(str(fleet.member.daemon.config_file))
    before = {**status(fleet), "Sources": {}}
    names = {each.name for each in checked.membership(config, before)}
    assert "fleet-not-loaded" in names


@pytest.mark.parametrize(
    ("days", "name", "words"),
    [
        (3, "fleet", "renewed in time"),
        (4, "fleet-membership-ends-soon", "daily renewal has failed"),
        (8, "fleet-membership-ended", "no gateway accepts"),
        (98, "fleet-membership-ended", "too long to be renewed"),
    ],
)
def test_the_end_of_a_membership_is_reported(
    fleet: WholeFleet, days: int, name: str, words: str
) -> None:
    """A membership that daily renewal has failed is a note, and one that has ended a fault."""
    found = look(fleet, wall=lambda: time.time() + days * DAY)[name]
    assert words in found.what
    if "ended" in name:
        assert found.severity == "fault"
        assert ("join" if days > 90 else "renew.timer") in found.remedy


def test_another_issuer_is_a_fault(fleet: WholeFleet) -> None:
    """A certificate that no configured issuer signed is a fault."""
    stranger = str(PrivateKey.generate().public)
    found = look(fleet, lambda section: section.update(issuers=[stranger]))["fleet-certificate"]
    assert "it is not signed by a configured issuer" in found.what
    assert "sixtykey fleet renew" in found.remedy


def test_other_keys_than_the_certificates_are_a_fault(fleet: WholeFleet) -> None:
    """A signing key that is not the certificate's, or no key at all, is a fault."""
    other = fleet.member.directory / "other.key"
    other.write_text(PrivateKey.generate().dump())
    found = look(fleet, lambda section: section.update(key=str(other)))
    assert "for other keys" in found["fleet-certificate"].what
    missing = look(fleet, lambda section: section.update(certificate="/nonexistent/host.cert"))
    assert missing["fleet-files"].severity == "fault"


def test_a_copied_machine_is_a_fault(fleet: WholeFleet) -> None:
    """A certificate for another instance is a fault: the disk is a copy."""
    config = config_file.load(str(fleet.member.daemon.config_file))
    copy = {**status(fleet), "InstanceId": "i-00000000000000002"}
    found = {each.name: each for each in checked.membership(config, copy)}
    assert INSTANCE_ID in found["fleet-other-host"].what


@pytest.mark.parametrize(("apart", "side"), [(60.0, "ahead of"), (-60.0, "behind")])
def test_a_clock_apart_from_the_gateways_is_a_fault(
    fleet: WholeFleet, apart: float, side: str
) -> None:
    """A clock further from the gateway's than leases allow is a fault, with the side and NTP."""
    found = look(fleet, wall=lambda: time.time() + apart)["fleet-clock"]
    assert f"60 s {side} that of {fleet.gateway.url}" in found.what
    assert f"more than {FLEET.clocks_apart_seconds:.0f} s" in found.what
    assert "NTP" in found.remedy


def test_gateways_that_are_away_are_a_note(fleet: WholeFleet) -> None:
    """A gateway that cannot be reached, or has another authority, is a note that names it."""
    urls = ["https://127.0.0.1:1"]
    found = look(fleet, lambda section: section.update(gateways=urls))["fleet-gateways"]
    assert (found.severity, urls[0] in found.what) == ("note", True)
    with work_directory() as directory, WholeFleet(directory, gateways=1) as other:
        ca = other.gateway.ca
        found = look(fleet, lambda section: section.update(ca=ca))["fleet-gateways"]
        assert "cannot be used" in found.what


def test_json_has_the_findings_too(fleet: WholeFleet) -> None:
    """The fact about the membership is in --json."""
    done = command.run("check", "--json", "--config", str(fleet.member.daemon.config_file))
    facts = {each["Name"] for each in json.loads(done.out)["Facts"]}
    assert "fleet" in facts
