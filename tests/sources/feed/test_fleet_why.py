"""The daemon tells an issuer what became of one principal's pushes, and of no other's."""

from __future__ import annotations

import base64
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.audit.record import Record
from agent.commands.keyfile import fingerprint_of
from agent.config.fleet_limits import FLEET
from agent.fleet.messages import documents, lease_exchange
from agent.fleet.messages.explanation import Explanation, Question
from agent.fleet.messages.lease_exchange import Mark, Refusal
from agent.fleet.messages.signing import PrivateKey
from agent.sources.feed.messages import Deliver
from tests.fleet.sample_messages import HOST, ISSUER, LEASE, NOW, lease
from tests.parts.daemon import INSTANCE_ID, ZONE
from tests.parts.signed import fresh_key
from tests.sources.feed.fleet_house import NEXT, STRANGER, FleetHouse, at_fleet
from tests.sources.feed.house import Peer

ASKED = Question(INSTANCE_ID, "ec2-user", LEASE.principal, int(NOW * 1000), b"\7" * 16)
RECORD = Record("push", "allowed", principal=LEASE.principal, os_user="ec2-user")
OTHERS = "AKIASOMEBODYELSE"


async def explain(peer: Peer, asked: Question = ASKED, issuer: PrivateKey = ISSUER) -> Explanation:
    """The daemon's verified explanation."""
    sealed = asked.seal(issuer)
    peer.say(Deliver(8, sealed))
    heard = await peer.hear()
    answer, _ = lease_exchange.open_reply(base64.b64decode(heard["message"]))
    return Explanation.open(answer, HOST.public, asked, lease_exchange.digest(sealed))


async def push(at: FleetHouse, peer: Peer, number: int, **changes: Any) -> str:
    """Push a new key through the fleet; return its fingerprint."""
    key = " ".join(fresh_key().split()[:2])
    mark = Mark(bytes([number]) * 32, int(NOW * 1000))
    made = lease(key=key, mark=mark, request_id=str(uuid.uuid4()), **changes)
    await at.tell(peer, made.seal(ISSUER))
    return fingerprint_of(key)


def summarize(found: Explanation) -> list[tuple[Any, ...]]:
    """The event, outcome and key of each decision."""
    return [(e["event"], e["outcome"], e.get("fingerprint")) for e in found.decisions]


def test_a_push_and_its_lookup_are_shown(tmp_path: Path) -> None:
    """The principal is told of its push and of the lookup that got the key, newest first."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        key = await push(at, peer, 1)
        at.clock.advance(2.5)
        await at.look_up(f"ec2-user {key}\n")
        at.clock.advance(1)
        found = await explain(peer, replace(ASKED, issued_at=int((NOW + 3.5) * 1000)))
        assert summarize(found) == [("lookup", "given", key), ("push", "allowed", key)]
        assert [each["age"] for each in found.decisions] == [1.0, 3.5]
        assert (found.zone, found.complete) == (ZONE, True)

    at_fleet(tmp_path, course)


def test_a_refused_push_is_shown_with_its_reason(tmp_path: Path) -> None:
    """The host's own refusal of a push is told, with the reason."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        await push(at, peer, 1, zone="eu-central-1a")
        (each,) = (await explain(peer)).decisions
        assert (each["event"], each["outcome"]) == ("push", "EC2InstanceNotFoundException")
        assert "Availability Zone" in each["reason"]

    at_fleet(tmp_path, course)


def test_other_principals_pushes_are_not_shown(tmp_path: Path) -> None:
    """Nothing of another principal's push is told: no key, no request, no lookup."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        key = await push(at, peer, 1, principal=OTHERS)
        await at.look_up(f"ec2-user {key}\n")
        assert (await explain(peer)).decisions == ()
        own = await push(at, peer, 2)
        assert summarize(await explain(peer)) == [("push", "allowed", own)]
        # sshd asked for a key that nobody pushed; the reason would name somebody's.
        await at.look_up(f"ec2-user {fingerprint_of(fresh_key())}\n")
        assert summarize(await explain(peer)) == [("push", "allowed", own)]

    at_fleet(tmp_path, course)


def test_a_local_access_key_is_another_principal(tmp_path: Path) -> None:
    """A push at the host's own port by an access key of the same name is not told to a fleet."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        at.context.audit.record(RECORD)
        assert (await explain(peer)).decisions == ()

    at_fleet(tmp_path, course)


def test_pushes_for_another_user_are_not_shown(tmp_path: Path) -> None:
    """Pushes for another OS user are not told."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        await push(at, peer, 1, os_user="deploy")
        assert (await explain(peer)).decisions == ()

    at_fleet(tmp_path, course)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (ASKED.seal(STRANGER), "NotReady"),
        (ASKED.seal(HOST), "NotReady"),
        (ASKED.seal(ISSUER).replace(b"ec2-user", b"root4567"), "NotReady"),
        (replace(ASKED, host="i-00000000000000009").seal(ISSUER), "NotThisHost"),
        (replace(ASKED, issued_at=int((NOW - 7) * 1000)).seal(ISSUER), "NotReady"),
        (replace(ASKED, issued_at=int((NOW + 6) * 1000)).seal(ISSUER), "NotReady"),
        (replace(ASKED, principal="").seal(ISSUER), "NotReady"),
        (documents.seal("question", {}, ISSUER), "NotReady"),
    ],
    ids=["stranger", "host", "altered", "elsewhere", "old", "ahead", "nobody", "empty"],
)
def test_a_forged_or_old_question_is_refused(tmp_path: Path, asked: bytes, code: str) -> None:
    """A forged, altered, old or misdirected question is refused, and tells nothing."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        await push(at, peer, 1)
        answer = await at.tell(peer, asked)
        assert isinstance(answer, Refusal)
        assert answer.code == code
        assert LEASE.principal not in answer.words

    at_fleet(tmp_path, course)


def test_either_of_two_issuers_may_ask(tmp_path: Path) -> None:
    """While the issuer rotates, the host answers both."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        await push(at, peer, 1)
        assert len((await explain(peer, issuer=NEXT)).decisions) == 1

    at_fleet(tmp_path, course)


def test_long_reasons_leave_older_decisions_out(tmp_path: Path) -> None:
    """The newest decisions that fit into a message of the bus are told; it says that some are not.

    Their texts are as long as they can be, and of characters that take most room.
    """

    async def course(at: FleetHouse, peer: Peer) -> None:
        for number in range(32):
            at.clock.advance(0.01)
            at.context.audit.record(
                replace(RECORD, issuer="x", reason=f"{number} " + 'é"\x07\\' * 300)
            )
        found = await explain(peer)
        assert 1 <= len(found.decisions) < 32
        assert found.complete is False
        assert found.decisions[0]["reason"].startswith("31 ")

    at_fleet(tmp_path, course)


def test_twenty_usual_decisions_fit() -> None:
    """Decisions of the usual size fit, as many as a host remembers; the reply fits on the bus."""
    usual = {
        "event": "lookup", "outcome": "none", "age": 1.0, "times": 1, "os_user": "ec2-user",
        "fingerprint": "SHA256:" + "x" * 43, "request_id": LEASE.request_id,
        "principal": LEASE.principal, "instance": INSTANCE_ID,
        "reason": f"expired 12 s ago (request {LEASE.request_id})",
    }  # fmt: skip
    many = Explanation.of_newest(bytes(32), INSTANCE_ID, ZONE, [usual] * 100)
    assert len(many.decisions) >= 20
    reply = lease_exchange.seal_reply(many.seal(HOST), b"c" * 2048)
    assert len(reply) <= 2 * FLEET.document_bytes
