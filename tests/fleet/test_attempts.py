"""Why a gateway refused a push: it tells each principal of its own attempts, and of no other's."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from agent.commands import explanations
from agent.config.fleet_limits import FLEET
from agent.fleet.gateway.attempts import merge
from tests.parts import signed
from tests.parts.asked_fleet import ABSENT, OWN, STUB, AskedFleet
from tests.parts.bus import PATIENCE, Bus, gateway_url, make_home
from tests.parts.daemon import INSTANCE_ID
from tests.parts.gateway import RunningGateway
from tests.parts.raw import Answer

SECOND = "AKIASECOND"
BAD_KEY = "ssh-ed25519 " + "A" * 80


def push(fleet: AskedFleet, code: str, key: str = OWN, **changes: Any) -> Answer:
    """Push as this principal; the answer has this error's code."""
    call = signed.sign(signed.push(**changes), signed.Signer(key=key))
    answer = fleet.gateway.send(call)
    assert answer.code == code, answer
    return answer


def told(answer: Answer) -> list[tuple[Any, ...]]:
    """Place, outcome, and request of each decision."""
    assert answer.status == 200, answer
    return [(e.get("at"), e["outcome"], e.get("request_id")) for e in answer.body["Decisions"]]


def test_a_push_that_the_gateway_refused_is_explained(fleet: AskedFleet) -> None:
    """A bad key and a repeated request are shown as the gateway's, among the host's decisions."""
    first = push(fleet, "InvalidArgsException", InstanceOSUser="ann", SSHPublicKey=BAD_KEY)
    call = signed.sign(signed.push(InstanceOSUser="ann"))
    taken = fleet.gateway.send(call)
    assert fleet.gateway.send(call).request_id == taken.request_id
    answer = fleet.why(OSUser="ann")
    assert told(answer) == [
        ("gateway", "allowed", taken.request_id),
        (None, "allowed", taken.request_id),
        ("gateway", "InvalidArgsException", first.request_id),
    ]
    repeated, accepted, refused = answer.body["Decisions"]
    assert (repeated["replay"], accepted.get("replay")) == (True, None)
    assert "Unanswered" not in answer.body
    shown = [explanations.describe(each, answer.body)[0] for each in (repeated, refused)]
    assert shown[0].startswith("at the gateway: ")
    assert "the same request again" in shown[0]
    assert "at the gateway: a key pushed by" in shown[1]
    assert "refused, InvalidArgsException" in shown[1]


def test_a_refusal_by_the_host_is_told_once(fleet: AskedFleet) -> None:
    """What the host refused is explained by the host, and not once more by the gateway."""
    asked = push(fleet, "EC2InstanceNotFoundException", InstanceOSUser="bea",
                 AvailabilityZone="eu-central-1a")  # fmt: skip
    assert told(fleet.why(OSUser="bea")) == [
        (None, "EC2InstanceNotFoundException", asked.request_id)
    ]


def test_a_push_to_an_absent_host_is_explained_to_its_pusher(fleet: AskedFleet) -> None:
    """For a host that is not connected the gateway answers alone, and says so."""
    code = "EC2InstanceNotFoundException"
    asked = push(fleet, code, InstanceOSUser="cleo", InstanceId=ABSENT)
    answer = fleet.why(instance=ABSENT, OSUser="cleo")
    assert told(answer) == [("gateway", code, asked.request_id)]
    assert answer.body["Unanswered"] == f"The instance {ABSENT} is not connected."
    assert (answer.body["Complete"], answer.body["AvailabilityZone"]) == (False, None)
    (each,) = answer.body["Decisions"]
    assert "not connected to the fleet" in explanations.describe(each, answer.body)[1]
    assert fleet.why(SECOND, ABSENT, OSUser="cleo").code == code
    assert fleet.why(instance=ABSENT, OSUser="another").code == code
    assert fleet.why("AKIAWEBONLY", ABSENT, OSUser="cleo").code == "AuthException"


def test_a_push_to_a_silent_host_is_explained(fleet: AskedFleet) -> None:
    """If the host does not answer the push, and not the question either, the gateway tells."""
    fleet.stub.answer = lambda *_: None
    push(fleet, "ServiceUnavailable", InstanceOSUser="dan", InstanceId=STUB)
    answer = fleet.why(instance=STUB, OSUser="dan")
    assert [each[:2] for each in told(answer)] == [("gateway", "ServiceUnavailable")]
    assert "no answer within 4 s" in answer.body["Unanswered"]


def test_no_principal_sees_or_displaces_anothers_attempts(fleet: AskedFleet) -> None:
    """Each is told of its own refused pushes only, however many others have."""
    own = push(fleet, "InvalidArgsException", InstanceOSUser="eve", SSHPublicKey=BAD_KEY)
    for number in range(FLEET.attempts + 10):
        user = "eve" if number % 2 else f"eve{number}"
        push(fleet, "InvalidArgsException", SECOND, InstanceOSUser=user, SSHPublicKey=BAD_KEY)
    answer = fleet.why(OSUser="eve")
    assert told(answer) == [("gateway", "InvalidArgsException", own.request_id)]
    assert SECOND not in json.dumps(answer.body)
    others = fleet.why(SECOND, OSUser="eve")
    assert len(others.body["Decisions"]) > 1
    assert OWN not in json.dumps(others.body)


def test_an_unverified_request_is_told_to_nobody(fleet: AskedFleet) -> None:
    """A push in somebody's name with another secret is not among that one's attempts."""
    call = signed.push(InstanceOSUser="flo")
    forged = signed.sign(call, signed.Signer(key=OWN, secret="x" * 40))
    assert fleet.gateway.send(forged).code == "AuthException"
    assert told(fleet.why(OSUser="flo")) == []


def test_attempts_at_other_hosts_and_users_are_not_shown(fleet: AskedFleet) -> None:
    """Only attempts for the host and the OS user that are asked about are shown."""
    push(fleet, "InvalidArgsException", InstanceOSUser="gil", SSHPublicKey=BAD_KEY)
    push(fleet, "AuthException", "AKIAOTHERS", InstanceOSUser="gil")
    assert told(fleet.why(OSUser="hal")) == []
    assert fleet.why(instance=ABSENT, OSUser="gil").code == "EC2InstanceNotFoundException"
    # The push was refused because this instance is not allowed, and so is the question.
    assert fleet.why("AKIAOTHERS", OSUser="gil").code == "AuthException"


def test_a_throttled_push_is_explained(tmp_path: Path) -> None:
    """Pushes above the rate are shown, in one line, once the principal may ask again."""
    home = make_home(tmp_path, gateways=[gateway_url()])
    config = {"rate": {"per_credential": 1, "total": 100}}
    body = json.dumps({"InstanceId": INSTANCE_ID, "OSUser": "ian"}).encode()
    asked = signed.Call(body=body).having("X-Amz-Target", "Sixtykey.Explain")
    with (
        Bus(home, tmp_path),
        RunningGateway(tmp_path / "gw", home, config=config) as gateway,
        gateway.connection() as raw,
    ):
        gateway.await_bus()

        def send(call: signed.Call) -> Answer:
            return raw.send(signed.sign(call).raw()).answer()

        codes = [""]
        end = time.monotonic() + PATIENCE
        while codes[-2:] != ["ThrottlingException"] * 2:
            assert time.monotonic() < end, codes
            codes.append(send(signed.push(InstanceOSUser="ian")).code)
        while (answer := send(asked)).status != 200:
            assert (answer.code, time.monotonic() < end) == ("ThrottlingException", True)
            time.sleep(0.2)
        (latest, *_) = answer.body["Decisions"]
        assert (latest["outcome"], "instance" in latest) == ("ThrottlingException", False)
        assert latest["times"] > 1
        assert "wait" in explanations.describe(latest, answer.body)[1]


def test_decisions_of_host_and_gateway_are_in_order() -> None:
    """Both are shown newest first, and a request that the host explains only once."""
    host = [{"age": 1.0, "request_id": "b"}, {"age": 3.0, "request_id": "a"}, {"age": 9.0}]
    own = [
        {"age": 0.5, "request_id": "b", "replay": True},
        {"age": 1.1, "request_id": "b"},
        {"age": 2.0, "request_id": "c"},
    ]
    found = merge({"Decisions": host, "Complete": True}, own)
    assert [each["age"] for each in found["Decisions"]] == [0.5, 1.0, 2.0, 3.0, 9.0]
    assert found["Complete"] is True
