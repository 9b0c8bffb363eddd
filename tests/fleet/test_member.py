"""Pushes through gateways to a whole host: which of them are served there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Optional

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.parts import command, signed
from tests.parts.bus import Bus, gateway_url, make_home
from tests.parts.daemon import CREDENTIAL, INSTANCE_ID
from tests.parts.ec2_process import lookup as ask_for_keys
from tests.parts.fleet_member import FleetMember, join_token
from tests.parts.gateway import RunningGateway
from tests.parts.host import work_directory
from tests.parts.keys import make_key
from tests.parts.pushers import Target, push_with_boto3

OTHER = "i-00000000000000002"
RESTRICTED = [
    {**CREDENTIAL, "access_key_id": name, "allow": {"os_users": ["*"], **allow}}
    for name, allow in (
        ("AKIAWEBONLY", {"tags": {"role": ["web*"]}}),
        ("AKIADBONLY", {"tags": {"role": ["db*"]}}),
        ("AKIAOTHERS", {"instances": ["i-0000*"]}),
        ("AKIAELSEWHERE", {"sources": ["192.0.2.0/24"]}),
    )
]


class Fleet:
    """Two gateways, a server, and a host that is tagged role=web."""

    def __init__(self, first: RunningGateway, second: RunningGateway, host: FleetMember) -> None:
        self.first = first
        self.second = second
        self.host = host


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """A running fleet."""
    with work_directory() as directory:
        urls = [gateway_url(), gateway_url()]
        home, credentials = make_home(directory, gateways=urls), [CREDENTIAL, *RESTRICTED]
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
    """A push through a gateway is served at the next lookup, and is audited by the host."""
    key = signed.fresh_key()
    done = push_with_boto3(fleet.first.target(), "alice", key)
    assert done.ok, done
    assert lookup(fleet.host, "alice") == f"{key.rpartition(' ')[0]} {done.request_id}\n\n"
    record = fleet.host.daemon.await_audit(event="push", request_id=done.request_id)
    assert (record["outcome"], record["principal"]) == ("allowed", CREDENTIAL["access_key_id"])
    assert record["issuer"] == str(fleet.first.home.facts.issuers[0])
    assert record["source"] == "127.0.0.1"


def test_a_captured_request_extends_nothing_at_another_gateway(fleet: Fleet) -> None:
    """A request sent again by another gateway gets the first answer, and is served once."""
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
    """A push to a host that is not connected gets EC2InstanceNotFoundException."""
    answer = fleet.first.push(InstanceId=OTHER)
    assert (answer.status, answer.code) == (400, "EC2InstanceNotFoundException")


def test_the_hosts_own_rules_hold(fleet: Fleet) -> None:
    """The host itself checks the zone, and refuses a push that names another one."""
    answer = fleet.first.push(AvailabilityZone="eu-central-1a")
    assert answer.code == "EC2InstanceNotFoundException"
    record = fleet.host.daemon.await_audit(event="push", outcome="EC2InstanceNotFoundException")
    assert "Availability Zone" in record["reason"]


def test_tags_of_the_join_token_let_a_credential_push(fleet: Fleet) -> None:
    """A credential for a tag may push to a host with it, and not to a host without it."""
    signer = signed.Signer(key="AKIAWEBONLY")
    answer = fleet.first.send(signed.sign(signed.push(InstanceOSUser="carol"), signer))
    assert answer.code == ""
    absent = signed.sign(signed.push(InstanceId=OTHER), signer)
    assert fleet.first.send(absent).code == "AuthException"


def test_a_push_outlives_a_restart_of_the_daemon(fleet: Fleet) -> None:
    """An acknowledged key is still served after the daemon was killed and restarted."""
    assert fleet.first.push(InstanceOSUser="dora").code == ""
    served = lookup(fleet.host, "dora")
    fleet.host.daemon.kill()
    fleet.host.daemon.start()
    assert lookup(fleet.host, "dora") == served
    assert fleet.first.push(InstanceOSUser="dora2").code == ""


def test_a_restart_of_the_daemon_is_never_an_absence(fleet: Fleet) -> None:
    """A push during a restart of the daemon is accepted or gets ServiceUnavailable."""
    fleet.host.daemon.stop()
    codes: list[str] = []

    def push() -> None:
        while not codes or codes[-1] == "ServiceUnavailable":
            codes.append(fleet.first.push().code)

    thread = threading.Thread(target=push)
    thread.start()
    fleet.host.daemon.start()
    thread.join()
    assert codes[-1] == ""


def test_local_pushes_and_lookups_go_on_without_the_fleet(fleet: Fleet) -> None:
    """With the connector dead, local pushes work and keys from the fleet are still served."""
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
    """Sixtykey.Hosts lists the host's signed description and its tags."""
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


def hosts(
    gateway: RunningGateway, signer: Optional[signed.Signer] = None, **members: Any
) -> list[dict[str, Any]]:
    """The hosts that Sixtykey.Hosts lists for this signer."""
    answer = gateway.hosts(signer, **members)
    assert answer.status == 200, answer
    found: list[dict[str, Any]] = answer.body["Hosts"]
    return found


def lookup(host: FleetMember, user: str) -> str:
    """The answer of the host's lookup socket for a user."""
    return ask_for_keys(host.daemon, f"{user}\n").decode()


def test_operators_see_hosts_and_servers_at_any_gateway(fleet: Fleet) -> None:
    """`fleet hosts` shows the hosts, and `fleet status` the servers, at every gateway."""
    for gateway in (fleet.first, fleet.second):
        folder = ("--folder", str(gateway.folder))
        shown = command.run("fleet", "hosts", "--json", "web-*", *folder)
        assert shown.code == 0, shown
        assert [each["InstanceId"] for each in shown.json["Hosts"]] == [INSTANCE_ID]
        text = command.run("fleet", "hosts", *folder).out
        assert INSTANCE_ID in text
        assert "role=web" in text
        assert "no such host" in command.run("fleet", "hosts", "db-*", *folder).out
        status = command.run("fleet", "status", "--json", *folder)
        assert status.code == 0, status
        assert [each["Problem"] for each in status.json["Servers"]] == [None]
        assert status.json["Hosts"]["Connected"] == 1


def test_a_principal_sees_only_hosts_that_it_may_push_to(fleet: Fleet) -> None:
    """A principal is shown the hosts that it may push to, and none from a forbidden source."""
    assert hosts(fleet.first, signer=signed.Signer(key="AKIAWEBONLY"))
    assert hosts(fleet.first, signer=signed.Signer(key="AKIADBONLY")) == []
    assert hosts(fleet.first, signer=signed.Signer(key="AKIAOTHERS")) == []
    assert fleet.first.hosts(signed.Signer(key="AKIAELSEWHERE")).code == "NotAuthorized"
    assert fleet.first.hosts(signed.Signer(secret="x" * 40)).code == "AuthException"


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"Names": "web"}, "InvalidArgsException"),
        ({"Names": [1]}, "InvalidArgsException"),
        ({"Names": ["[z-a]"]}, "InvalidArgsException"),
        ({"MaxResults": 0}, "InvalidArgsException"),
        ({"MaxResults": True}, "InvalidArgsException"),
        ({"NextToken": 1}, "InvalidArgsException"),
        ({"Filter": []}, "ValidationError"),
    ],
)
def test_a_wrong_question_for_hosts_is_refused(
    fleet: Fleet, members: dict[str, Any], code: str
) -> None:
    """A member of Sixtykey.Hosts with a wrong type or an unknown name is refused."""
    assert fleet.first.hosts(**members).code == code


def test_prometheus_sees_pushes_and_hosts(fleet: Fleet) -> None:
    """The metrics contain push outcomes, a histogram of latency, and the connected hosts."""
    assert fleet.first.push().code == ""
    text = fleet.first.metrics()
    families = {each.name: each for each in text_string_to_metric_families(text)}
    pushed = families["sixtykey_gateway_pushes"].samples
    assert sum(each.value for each in pushed if each.labels["outcome"] == "allowed") >= 1
    counts = [
        each.value
        for each in families["sixtykey_gateway_push_seconds"].samples
        if each.name.endswith("_count")
    ]
    assert counts[0] >= 1
    assert families["sixtykey_gateway_bus_connected"].samples[0].value == 1
    assert families["sixtykey_gateway_hosts"].samples[0].value <= 1


def test_a_gateways_access_keys_are_made_by_the_command(fleet: Fleet) -> None:
    """`credentials add --gateway` adds a key to the gateway's file; it is valid after a reload."""
    config = ("--gateway", "--config", str(fleet.second.config_file))
    made = command.run(
        "credentials", "add", *config, "--user", "gina", "--tag", "role=web*", "--json"
    )
    assert made.code == 0, made
    told = made.json
    assert told["Endpoint"] == fleet.first.url
    assert "role=web*" in command.run("credentials", "list", *config).out
    fleet.second.reload()
    signer = signed.Signer(key=told["AccessKeyId"], secret=told["SecretAccessKey"])
    for user, code in (("gina", ""), ("root", "AccessDeniedException")):
        call = signed.push(InstanceOSUser=user)
        assert fleet.second.send(signed.sign(call, signer)).code == code
    refused = command.run("credentials", "add", "--user", "a", "--tag", "role=web")
    assert (refused.code, "--gateway" in refused.err) == (2, True)


def test_a_connected_host_that_does_not_answer_is_shown_to_the_operator(fleet: Fleet) -> None:
    """`fleet hosts` shows a host that is connected but whose daemon is stopped."""
    fleet.host.daemon.stop()
    try:
        folder = ("--folder", str(fleet.first.folder))
        assert "DOES NOT ANSWER" in command.run("fleet", "hosts", *folder).out
    finally:
        fleet.host.daemon.start()
    assert fleet.first.push().code == ""
