"""Pushes through gateways to a whole host: what is served there, and what is not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.parts import signed
from tests.parts.bus import Bus, gateway_url, make_home
from tests.parts.daemon import CREDENTIAL, INSTANCE_ID
from tests.parts.ec2_process import lookup as ask_for_keys
from tests.parts.fleet_member import FleetMember, join_token
from tests.parts.gateway import RunningGateway
from tests.parts.host import work_directory
from tests.parts.keys import make_key
from tests.parts.pushers import Target, push_with_boto3
from tests.parts.raw import Answer

OTHER = "i-00000000000000002"
TAGGED = {
    **CREDENTIAL,
    "access_key_id": "AKIAWEBONLY",
    "allow": {"os_users": ["*"], "tags": {"role": ["web*"]}},
}


class Fleet:
    """Two gateways, a server, and a host that is tagged role=web."""

    def __init__(self, first: RunningGateway, second: RunningGateway, host: FleetMember) -> None:
        self.first = first
        self.second = second
        self.host = host


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """The whole of it."""
    with work_directory() as directory:
        urls = [gateway_url(), gateway_url()]
        home, credentials = make_home(directory, gateways=urls), [CREDENTIAL, TAGGED]
        with (
            Bus(home, directory),
            RunningGateway(directory / "gw1", home, urls[0], credentials=credentials) as first,
            RunningGateway(directory / "gw2", home, urls[1], credentials=credentials) as second,
        ):
            first.await_bus()
            second.await_bus()
            folder = directory / "host"
            member = FleetMember(folder, first, token=join_token(first, "--tag", "role=web"))
            make_key(folder, "ssh_host_ed25519_key")
            with member:
                yield Fleet(first, second, member)


def test_a_push_through_a_gateway_is_served_by_the_host(fleet: Fleet) -> None:
    """200, and the next lookup on the host has the key, with the push's request id."""
    key = signed.fresh_key()
    done = push_with_boto3(fleet.first.target(), "alice", key)
    assert done.ok, done
    assert lookup(fleet.host, "alice") == f"{key.rpartition(' ')[0]} {done.request_id}\n\n"
    record = fleet.host.daemon.await_audit(event="push", request_id=done.request_id)
    assert (record["outcome"], record["principal"]) == ("allowed", CREDENTIAL["access_key_id"])
    assert record["issuer"] == str(fleet.first.home.facts.issuers[0])
    assert record["source"] == "127.0.0.1"


def test_a_captured_request_prolongs_nothing_at_another_gateway(fleet: Fleet) -> None:
    """The host recognises it, whichever gateway sends it again: answered as before, served once."""
    call = signed.sign(signed.push(InstanceOSUser="bob"))
    first = fleet.first.send(call)
    served = lookup(fleet.host, "bob")
    listed = fleet.host.daemon
    again = fleet.second.send(call)
    assert (first.code, again.code) == ("", "")
    assert again.request_id == first.request_id
    assert lookup(fleet.host, "bob") == served
    record = listed.await_audit(event="push", request_id=first.request_id, replay=True)
    assert record["outcome"] == "allowed"


def test_a_host_that_is_not_connected_is_not_found(fleet: Fleet) -> None:
    """Nobody there: EC2InstanceNotFoundException."""
    answer = fleet.first.push(InstanceId=OTHER)
    assert (answer.status, answer.code) == (400, "EC2InstanceNotFoundException")


def test_the_hosts_own_rules_hold(fleet: Fleet) -> None:
    """The zone is the host's to check: a push that names another one is refused by it."""
    answer = fleet.first.push(AvailabilityZone="eu-central-1a")
    assert answer.code == "EC2InstanceNotFoundException"
    record = fleet.host.daemon.await_audit(event="push", outcome="EC2InstanceNotFoundException")
    assert "Availability Zone" in record["reason"]


def test_tags_of_the_join_token_let_a_credential_push(fleet: Fleet) -> None:
    """A credential for role=web* may push to the host; one without that tag's host may not."""
    signer = signed.Signer(key="AKIAWEBONLY")
    answer = fleet.first.send(signed.sign(signed.push(InstanceOSUser="carol"), signer))
    assert answer.code == ""
    absent = signed.sign(signed.push(InstanceId=OTHER), signer)
    assert fleet.first.send(absent).code == "AuthException"


def test_a_push_outlives_a_restart_of_the_daemon(fleet: Fleet) -> None:
    """Acknowledged means durable: also when the daemon is killed at once."""
    assert fleet.first.push(InstanceOSUser="dora").code == ""
    served = lookup(fleet.host, "dora")
    fleet.host.daemon.kill()
    fleet.host.daemon.start()
    assert lookup(fleet.host, "dora") == served
    assert fleet.first.push(InstanceOSUser="dora2").code == ""


def test_a_push_waits_for_a_daemon_that_restarts(fleet: Fleet) -> None:
    """The connector holds it for a moment: clients do not see a restart."""
    fleet.host.daemon.stop()
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(fleet.first.push()))
    thread.start()
    time.sleep(0.5)
    fleet.host.daemon.start()
    thread.join()
    assert [each.code for each in answers] == [""]


def test_local_pushes_and_lookups_go_on_without_the_fleet(fleet: Fleet) -> None:
    """With the connector dead, the host's own endpoint works, and what was pushed is served."""
    assert fleet.first.push(InstanceOSUser="erin").code == ""
    fleet.host.connector.kill()
    target = Target.of(fleet.host.daemon)
    try:
        own = push_with_boto3(target, "frank", signed.fresh_key())
        assert own.ok, own
        assert lookup(fleet.host, "erin").endswith("\n\n")
        assert lookup(fleet.host, "frank").endswith("\n\n")
        assert fleet.first.push(InstanceOSUser="erin").code == "EC2InstanceNotFoundException"
    finally:
        fleet.host.connector.begin()
    assert fleet.first.push(InstanceOSUser="erin").code == ""


def test_hosts_are_listed_with_keys_and_tags(fleet: Fleet) -> None:
    """Sixtykey.Hosts: what the host says of itself, signed, and its tags."""
    found = hosts(fleet.second)
    assert [each["InstanceId"] for each in found] == [INSTANCE_ID]
    host = found[0]
    assert (host["Name"], host["Tags"]) == ("web-1", {"role": "web"})
    public = (fleet.host.directory / "ssh_host_ed25519_key.pub").read_text().split()[:2]
    assert host["HostKeys"] == [" ".join(public)]
    assert host["Addresses"] == ["127.0.0.1"]
    assert host["ConnectedSince"].startswith("20")
    assert hosts(fleet.first, Names=["web-*"]) == hosts(fleet.first)
    assert hosts(fleet.first, Names=["db-*"]) == []


def hosts(gateway: RunningGateway, **members: Any) -> list[dict[str, Any]]:
    """What Sixtykey.Hosts answers to the credential that may do all."""
    answer = gateway.hosts(**members)
    assert answer.status == 200, answer
    found: list[dict[str, Any]] = answer.body["Hosts"]
    return found


def lookup(host: FleetMember, user: str) -> str:
    """What the host's lookup socket answers for a user."""
    return ask_for_keys(host.daemon, f"{user}\n").decode()
