"""Sixtykey.Explain through a gateway: the host itself answers, and nobody in its place."""

from __future__ import annotations

import json
import time
from typing import Any, Callable, Optional

import pytest

from agent.fleet.messages import lease_exchange, refusals
from agent.fleet.messages.clocks import NotNow
from agent.fleet.messages.documents import Rejected
from agent.fleet.messages.explanation import Explanation, Question
from agent.fleet.messages.lease_exchange import LeaseMessage
from agent.fleet.messages.signing import PrivateKey
from tests.parts import signed
from tests.parts.asked_fleet import ABSENT, OWN, STUB, AskedFleet, explain
from tests.parts.daemon import INSTANCE_ID, ZONE
from tests.parts.ec2_process import lookup
from tests.parts.fleet_host import FleetHost
from tests.parts.forged_envelopes import with_body
from tests.parts.raw import Answer, Raw
from tests.parts.stolen_bus import StolenBus


def code_of(answer: Answer) -> str:
    """The error's name; empty for an explanation."""
    return "" if answer.status == 200 else answer.code


def test_a_principal_sees_only_its_own_pushes(fleet: AskedFleet) -> None:
    """Of two principals that push for one user, each is told of its own push and its lookup."""
    keys = {name: fleet.push(name, "shared") for name in (OWN, "AKIASECOND")}
    for key in keys.values():
        lookup(fleet.member.daemon, f"shared {key}\n")
    for name, other in zip(keys, reversed(list(keys))):
        answer = fleet.why(name, OSUser="shared")
        assert (answer.status, answer.body["InstanceId"]) == (200, INSTANCE_ID)
        told = [(each["event"], each["fingerprint"]) for each in answer.body["Decisions"]]
        assert told == [("lookup", keys[name]), ("push", keys[name])]
        text = json.dumps(answer.body)
        assert other not in text
        assert keys[other] not in text
    record = fleet.gateway.await_audit(event="explain", outcome="allowed")
    assert (record["instance"], record["os_user"]) == (INSTANCE_ID, "shared")


def test_a_push_at_the_hosts_own_port_is_not_shown(fleet: AskedFleet) -> None:
    """A push by an access key of the same name at the host itself is another principal's."""
    call = signed.sign(signed.push(InstanceOSUser="local"))
    with Raw(("127.0.0.1", fleet.member.daemon.http_port)) as raw:
        assert raw.send(call.raw()).answer().code == ""
    assert fleet.why(OSUser="local").body["Decisions"] == []


@pytest.mark.parametrize(
    ("key", "code"), [("AKIATAGSAFAR", "NotAuthorized"), ("AKIATAGSELSE", "AuthException")]
)
def test_no_host_is_asked_for_whom_other_rules_refuse(
    fleet: AskedFleet, key: str, code: str
) -> None:
    """A principal that may not push from there, or to that instance, makes nobody ask the host."""
    before = len(fleet.stub.received)
    assert fleet.why(key, instance=STUB).code == code
    assert len(fleet.stub.received) == before


@pytest.mark.parametrize(
    ("key", "members", "code"),
    [
        ("AKIAWEBONLY", {}, ""),
        ("AKIADBONLY", {}, "AuthException"),
        ("AKIAOTHERS", {}, "AuthException"),
        ("AKIADEPLOY", {}, "AccessDeniedException"),
        ("AKIAELSEWHERE", {}, "NotAuthorized"),
        ("AKIANOBODY", {}, "InvalidClientTokenId"),
        ("AKIAWEBONLY", {"InstanceId": ABSENT}, "AuthException"),
        (OWN, {"InstanceId": ABSENT}, "EC2InstanceNotFoundException"),
        (OWN, {"InstanceId": "*"}, "InvalidArgsException"),
        (OWN, {"InstanceId": "i-0f1e2d3c4b5a69788.x"}, "InvalidArgsException"),
        (OWN, {"OSUser": "a b"}, "InvalidArgsException"),
        (OWN, {"OSUser": None}, "MissingParameter"),
        (OWN, {"InstanceId": 1}, "MissingParameter"),
        (OWN, {"Principal": "AKIASECOND"}, "ValidationError"),
    ],
)
def test_only_who_may_push_there_may_ask(
    fleet: AskedFleet, key: str, members: dict[str, Any], code: str
) -> None:
    """Whoever may not push for that user of that instance learns nothing; nor does a bad body."""
    answer = fleet.why(key, **members)
    assert code_of(answer) == code
    assert ("Decisions" in answer.body) == (code == "")


def _replayed(fleet: AskedFleet) -> Callable[[FleetHost, bytes], bytes]:
    """The genuine answer to an earlier question."""
    fleet.why(instance=STUB)
    before = explain(fleet.stub, fleet.stub.received[-1])
    return lambda *_: before


def _by_another_key(_: AskedFleet) -> Callable[[FleetHost, bytes], bytes]:
    """An explanation by a key that is not the host's, with the host's certificate."""
    key = PrivateKey.generate()

    def answer(host: FleetHost, sealed: bytes) -> bytes:
        found = Explanation(lease_exchange.digest(sealed), host.instance, ZONE, [], True)
        return host.reply(found.seal(key))

    return answer


def _by_another_host(_: AskedFleet) -> Callable[[FleetHost, bytes], bytes]:
    """An explanation in another host's name, as a host that was taken over would sign it."""
    return lambda host, sealed: explain(host, sealed, host=INSTANCE_ID)


def _acknowledged(_: AskedFleet) -> Callable[[FleetHost, bytes], bytes]:
    """An acknowledgement, of what was no lease."""

    def answer(host: FleetHost, sealed: bytes) -> bytes:
        made = lease_exchange.Acknowledgement(lease_exchange.digest(sealed), host.instance, "x", 1)
        return host.reply(made.seal(host.keys.host))

    return answer


LIES: dict[str, Callable[[AskedFleet], Callable[[FleetHost, bytes], Optional[bytes]]]] = {
    "an earlier answer": _replayed,
    "by another key": _by_another_key,
    "in another host's name": _by_another_host,
    "of another principal": lambda _: (
        lambda host, sealed: explain(host, sealed, decision={"principal": "AKIASECOND"})
    ),
    "of another user": lambda _: (
        lambda host, sealed: explain(host, sealed, decision={"os_user": "root"})
    ),
    "an acknowledgement": _acknowledged,
    "the question itself": lambda _: lambda _, sealed: sealed,
    "nothing": lambda _: lambda *_: b"",
    "a great deal": lambda _: lambda *_: b"[" * 30_000,
}


@pytest.mark.parametrize("name", LIES)
def test_a_forged_or_replayed_answer_is_refused(fleet: AskedFleet, name: str) -> None:
    """An answer that the host did not sign to this very question is not passed on."""
    fleet.stub.answer = LIES[name](fleet)
    answer = fleet.why(instance=STUB)
    assert (answer.status, answer.code) == (503, "ServiceUnavailable")
    assert "is not valid" in answer.body["Message"]
    fleet.stub.answer = explain
    assert fleet.why(instance=STUB).status == 200


def test_a_stolen_bus_can_neither_ask_nor_answer(fleet: AskedFleet) -> None:
    """A forged or altered question is refused by the host; an earlier answer is not believed."""
    fleet.push(OWN, "stolen")
    with StolenBus(fleet.bus) as thief:
        assert fleet.why(OSUser="stolen").status == 200
        heard = thief.await_message(b'"kind":"question"')
        made = Question(INSTANCE_ID, "stolen", OWN, int(time.time() * 1000), bytes(16))
        for envelope in (
            heard.data.replace(b"stolen", b"sto1en"),
            with_body(heard.data, principal="AKIASECOND"),
            made.seal(PrivateKey.generate()),
        ):
            refused, _ = lease_exchange.open_reply(thief.ask(INSTANCE_ID, envelope))
            content = json.loads(json.loads(refused)["body"])
            assert content["code"] == "NotReady"
            assert "decisions" not in content
        old = thief.await_answer(heard).data
        thief.on_lease = lambda _: old
        for user in ("stolen", "other"):
            answer = fleet.why(OSUser=user)
            assert code_of(answer) in {"", "ServiceUnavailable"}
            if answer.status == 200:
                told = [each["os_user"] for each in answer.body["Decisions"]]
                assert told == ([user] if user == "stolen" else [])


def test_a_host_that_does_not_answer_is_unavailable(fleet: AskedFleet) -> None:
    """A silent host is told of as unavailable, and after how long."""
    fleet.stub.answer = lambda *_: None
    answer = fleet.why(instance=STUB)
    assert (answer.status, answer.code) == (503, "ServiceUnavailable")
    assert "no answer within 4 s" in answer.body["Message"]


def test_an_older_host_is_reported_as_older(fleet: AskedFleet) -> None:
    """A host whose version knows no questions refuses them; the error says so, and what to do."""

    def refuse(host: FleetHost, sealed: bytes) -> bytes:
        # What a daemon without this message does: it reads everything but an inquiry as a lease.
        with pytest.raises(Rejected) as refused:
            LeaseMessage.open(sealed, set(host.home.facts.issuers))
        made = refusals.refuse(refused.value, lease_exchange.digest(sealed), host.instance)
        return host.reply(made.seal(host.keys.host))

    fleet.stub.answer = refuse
    answer = fleet.why(instance=STUB)
    assert (answer.status, answer.code) == (400, "InvalidAction")
    assert "older" in answer.body["Message"]
    assert "sixtykey why USER" in answer.body["Message"]


def test_differing_clocks_are_reported(fleet: AskedFleet) -> None:
    """A host that refuses for its clock has the gateway say so."""

    def refuse(host: FleetHost, sealed: bytes) -> bytes:
        made = refusals.refuse(NotNow("clocks apart"), lease_exchange.digest(sealed), host.instance)
        return host.reply(made.seal(host.keys.host))

    fleet.stub.answer = refuse
    answer = fleet.why(instance=STUB)
    assert (answer.code, answer.body["Message"]) == ("ServiceUnavailable", "clocks apart")


def test_the_question_names_the_verified_principal(fleet: AskedFleet) -> None:
    """The gateway asks about who signed the request, for the instance and user that it names."""
    asked = fleet.question(lambda: fleet.why("AKIAOTHERS", STUB, OSUser="ec2-user"))
    assert (asked.principal, asked.host, asked.os_user) == ("AKIAOTHERS", STUB, "ec2-user")
