"""Pushes through a running gateway over a real bus: hosts' answers, and responses to clients."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Optional

import pytest

from agent.fleet.messages import lease_exchange, refusals
from agent.fleet.messages.clocks import NotForThisHost, NotNow
from agent.fleet.messages.lease_exchange import Acknowledgement, LeaseMessage
from agent.fleet.messages.signing import PrivateKey
from agent.leases.keys import KeyRejected
from agent.leases.lease import NotDurable, TableFull
from agent.sources.intake import NotThisHost, UserDenied
from agent.sources.replay import TooOld
from tests.parts import signed
from tests.parts.bus import Bus, gateway_url, make_home
from tests.parts.daemon import CREDENTIAL, INSTANCE_ID, ZONE
from tests.parts.fleet_host import FleetHost, acknowledge
from tests.parts.gateway import RunningGateway
from tests.parts.host import work_directory
from tests.parts.pushers import push_with_boto3
from tests.parts.raw import Answer

ABSENT = "i-00000000000000009"
TAGGED = {
    **CREDENTIAL,
    "access_key_id": "AKIAWEBONLY",
    "allow": {"os_users": ["*"], "tags": {"role": ["web*"]}},
}


class Fleet:
    """A gateway, its bus, and one host."""

    def __init__(self, directory: Path, gateway: RunningGateway, host: FleetHost) -> None:
        self.directory = directory
        self.gateway = gateway
        self.host = host

    def send(self, call: signed.Call) -> Answer:
        """The gateway's response to a request."""
        return self.gateway.send(call)

    def push(self, **changes: Any) -> Answer:
        """Push with the credential that has no restrictions."""
        return self.gateway.push(**changes)

    def lease(self) -> LeaseMessage:
        """The newest lease that the host has received."""
        return LeaseMessage.open(self.host.received[-1], set(self.gateway.home.facts.issuers))


@pytest.fixture(scope="module")
def running() -> Iterator[Fleet]:
    """A gateway, a server and a host."""
    with work_directory() as directory:
        home = make_home(directory, gateways=[gateway_url()])
        with (
            Bus(home, directory),
            RunningGateway(directory / "gw", home, credentials=[CREDENTIAL, TAGGED]) as gateway,
            FleetHost(home, directory, INSTANCE_ID, tags={"role": "web"}) as host,
        ):
            gateway.await_bus()
            yield Fleet(directory, gateway, host)


@pytest.fixture
def fleet(running: Fleet) -> Fleet:
    """The same fleet, with a host that acknowledges again."""
    running.host.answer = acknowledge
    return running


def test_boto3_pushes_through_a_gateway(fleet: Fleet) -> None:
    """A push with boto3 over TLS gets 200 with the lease's request id, and is audited."""
    key = signed.fresh_key()
    done = push_with_boto3(fleet.gateway.target(), "ec2-user", key)
    assert done.ok, done
    lease = fleet.lease()
    assert (lease.request_id, lease.os_user) == (done.request_id, "ec2-user")
    assert (lease.key, lease.zone) == (key.rpartition(" ")[0], ZONE)
    assert (lease.principal, lease.source) == (CREDENTIAL["access_key_id"], "127.0.0.1")
    assert (lease.host, lease.lifetime) == (INSTANCE_ID, 60)
    assert lease.ends_at - lease.issued_at == 60_000
    assert lease.mark is not None
    record = fleet.gateway.await_audit(event="push", request_id=done.request_id)
    assert (record["outcome"], record["instance"]) == ("allowed", INSTANCE_ID)


def test_a_host_that_is_not_there_is_not_found_at_once(fleet: Fleet) -> None:
    """A push to a host that is not connected gets EC2InstanceNotFoundException."""
    answer = fleet.push(InstanceId=ABSENT)
    assert (answer.status, answer.code) == (400, "EC2InstanceNotFoundException")
    assert "is not connected" in answer.body["Message"]


def test_a_host_that_does_not_answer_is_unavailable(fleet: Fleet) -> None:
    """A push to a host that does not answer in time gets ServiceUnavailable."""
    fleet.host.answer = lambda *_: None
    answer = fleet.push()
    assert (answer.status, answer.code) == (503, "ServiceUnavailable")
    assert "no answer within 4 s" in answer.body["Message"]


def test_a_slow_host_holds_up_nobody_else(fleet: Fleet) -> None:
    """While a push waits for a slow host, another push through the same gateway is answered."""
    released = threading.Event()

    def slow(host: FleetHost, sealed: bytes) -> Optional[bytes]:
        released.wait(30)
        return acknowledge(host, sealed)

    with FleetHost(fleet.gateway.home, fleet.directory, ABSENT, answer=slow):
        waiting: list[Answer] = []
        thread = threading.Thread(target=lambda: waiting.append(fleet.push(InstanceId=ABSENT)))
        thread.start()
        assert fleet.push().code == ""
        assert waiting == []
        released.set()
        thread.join()
    assert waiting[0].code == ""


REFUSED: list[tuple[Exception, int, str]] = [
    (UserDenied("Nobody may."), 400, "AccessDeniedException"),
    (NotThisHost("Another zone."), 400, "EC2InstanceNotFoundException"),
    (TableFull("full", 7.5), 400, "ThrottlingException"),
    (TooOld("old"), 400, "RequestExpired"),
    (KeyRejected("weak"), 400, "InvalidArgsException"),
    (NotDurable("disk"), 500, "ServiceException"),
    (NotNow("their clocks are apart"), 503, "ServiceUnavailable"),
    (NotForThisHost("other"), 400, "EC2InstanceNotFoundException"),
]


@pytest.mark.parametrize(("error", "status", "code"), REFUSED, ids=lambda each: str(each)[:20])
def test_a_hosts_refusal_is_the_references_error(
    fleet: Fleet, error: Exception, status: int, code: str
) -> None:
    """A host's refusal becomes the error of the reference that the host itself would give."""

    def refuse(host: FleetHost, sealed: bytes) -> bytes:
        digest = lease_exchange.digest(sealed)
        return host.reply(refusals.refuse(error, digest, host.instance).seal(host.keys.host))

    fleet.host.answer = refuse
    answer = fleet.push()
    assert (answer.status, answer.code) == (status, code)
    if isinstance(error, TableFull):
        assert answer.headers["x-amz-retry-after"] == "7501"
    if isinstance(error, NotNow):
        assert "clocks" in answer.body["Message"]


def _by(key: PrivateKey) -> Callable[[FleetHost, bytes], bytes]:
    """An acknowledgement by this key, with the host's certificate."""

    def answer(host: FleetHost, sealed: bytes) -> bytes:
        made = Acknowledgement(lease_exchange.digest(sealed), host.instance, "x", 1)
        return host.reply(made.seal(key))

    return answer


def _for_other(host: FleetHost, _: bytes) -> bytes:
    made = Acknowledgement(bytes(32), host.instance, "x", 1)
    return host.reply(made.seal(host.keys.host))


def _of_other(host: FleetHost, sealed: bytes) -> bytes:
    """Another host's valid acknowledgement and certificate, as a hostile broker would send."""
    other = replace(host.certificate, host=ABSENT).seal(host.home.issuer())
    made = Acknowledgement(lease_exchange.digest(sealed), ABSENT, "x", 1).seal(host.keys.host)
    return lease_exchange.seal_reply(made, other)


def _self_made(host: FleetHost, sealed: bytes) -> bytes:
    """An acknowledgement with a certificate that no issuer signed."""
    digest = lease_exchange.digest(sealed)
    made = Acknowledgement(digest, host.instance, "x", 1).seal(host.keys.host)
    return lease_exchange.seal_reply(made, host.certificate.seal(host.keys.host))


def _ended(host: FleetHost, sealed: bytes) -> bytes:
    digest = lease_exchange.digest(sealed)
    made = Acknowledgement(digest, host.instance, "x", 1).seal(host.keys.host)
    old = replace(host.certificate, ends_at=1).seal(host.home.issuer())
    return lease_exchange.seal_reply(made, old)


@pytest.mark.parametrize(
    "lie",
    [
        _by(PrivateKey.generate()),
        _for_other,
        _of_other,
        _self_made,
        _ended,
        lambda _, sealed: sealed,
        lambda host, sealed: host.reply(sealed),
        lambda *_: b"",
        lambda *_: b"+OK",
        lambda *_: b"{}",
        lambda *_: b"[" * 10_000,
        lambda host, sealed: acknowledge(host, sealed)[:-1],
        lambda host, sealed: acknowledge(host, sealed).replace(b"acknowledgement", b"refusal"),
    ],
)
def test_no_lie_makes_a_push_accepted(fleet: Fleet, lie: Any) -> None:
    """Only an acknowledgement of this lease signed by this host makes a push accepted."""
    fleet.host.answer = lie
    answer = fleet.push()
    assert (answer.status, answer.code) == (503, "ServiceUnavailable")
    assert "is not valid" in answer.body["Message"]


def test_a_repeated_request_is_answered_alike_and_not_sent_twice(fleet: Fleet) -> None:
    """A repeated request gets the same response from memory, and no second lease is sent."""
    call = signed.sign(signed.push())
    first = fleet.send(call)
    count = len(fleet.host.received)
    second = fleet.send(call)
    assert (first.code, second.code) == ("", "")
    assert first.request_id == second.request_id
    assert len(fleet.host.received) == count


def test_strangers_do_not_reach_the_bus(fleet: Fleet) -> None:
    """Without a valid signature nothing is sent, and the response does not depend on the host."""
    count = len(fleet.host.received)
    wrong = signed.Signer(secret="x" * 40)
    answers = [
        fleet.send(signed.push()),
        fleet.send(signed.sign(signed.push(), wrong)),
        fleet.send(signed.sign(signed.push(InstanceId=ABSENT), wrong)),
    ]
    assert [each.code for each in answers] == [
        "MissingAuthenticationToken", "AuthException", "AuthException",
    ]  # fmt: skip
    assert answers[1].body == answers[2].body
    assert len(fleet.host.received) == count


def test_a_key_that_no_host_takes_is_not_sent(fleet: Fleet) -> None:
    """A key line with options, or text that is no key, is refused by the gateway."""
    count = len(fleet.host.received)
    line = f'command="id" {signed.fresh_key()}'
    for key in (line, "x" * 80):
        assert fleet.push(SSHPublicKey=key).code == "InvalidArgsException"
    assert len(fleet.host.received) == count


def test_requests_for_the_operator_do_not_exist_here(fleet: Fleet) -> None:
    """A gateway refuses an operator's action with InvalidAction."""
    call = signed.push().having("X-Amz-Target", "Sixtykey.Revoke")
    assert fleet.send(signed.sign(call)).code == "InvalidAction"


def test_a_removed_hosts_answer_counts_no_more(fleet: Fleet) -> None:
    """A gateway stops accepting a removed host's answers, without a reload."""
    with FleetHost(fleet.gateway.home, fleet.directory, ABSENT) as host:
        assert fleet.push(InstanceId=ABSENT).code == ""
        fleet.gateway.home.revoke([host.keys.connector.public], time.time())
        end = time.monotonic() + 30
        while fleet.push(InstanceId=ABSENT).code == "":
            assert time.monotonic() < end, "the gateway never learns of it"
            time.sleep(0.2)


def test_paths_of_hosts_are_apart_from_pushes(fleet: Fleet) -> None:
    """Unknown paths below /fleet/ get 404, and a malformed join request gets 403."""
    for method, target in (("GET", "/fleet/join"), ("POST", "/fleet/x"), ("GET", "/fleet/")):
        assert fleet.send(signed.Call(method, target)).status == 404
    refused = fleet.send(signed.Call("POST", "/fleet/join"))
    assert (refused.status, "error" in json.loads(refused.content)) == (403, True)
