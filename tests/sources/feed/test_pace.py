"""A flood of worthless messages costs a host little, and honest messages keep their answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.config.fleet_limits import FLEET
from agent.fleet.messages.description import Inquiry
from agent.fleet.messages.explanation import Question
from agent.fleet.messages.lease_exchange import LEASE as LEASE_KIND
from agent.fleet.messages.lease_exchange import Acknowledgement, Mark, Refusal
from agent.fleet.messages.signing import PrivateKey, PublicKey
from agent.sources.feed.messages import Deliver
from agent.sources.feed.pace import MessagePace
from tests.fleet.sample_messages import ISSUER, LEASE, NOW, lease
from tests.parts.daemon import INSTANCE_ID
from tests.parts.forged_envelopes import with_body
from tests.sources.feed.fleet_house import STRANGER, FleetHouse, at_fleet
from tests.sources.feed.house import Peer

BURST, VERIFIED = int(FLEET.asked), int(FLEET.verified)
MOMENT = int(NOW * 1000)


def nonce(number: int) -> bytes:
    """A nonce of its own for each number, so that no two messages are the same."""
    return number.to_bytes(16, "big")


def inquiry(number: int, key: PrivateKey = ISSUER) -> bytes:
    """An inquiry."""
    return Inquiry(INSTANCE_ID, MOMENT, nonce(number)).seal(key)


def question(number: int, key: PrivateKey = ISSUER) -> bytes:
    """A question."""
    asked = Question(INSTANCE_ID, "ec2-user", LEASE.principal, MOMENT, nonce(number))
    return asked.seal(key)


def forged(number: int) -> bytes:
    """A lease with an issuer's name, and the signature of another lease."""
    return with_body(SEALED, nonce=nonce(number).hex())


SEALED = LEASE.seal(ISSUER)


async def flood(peer: Peer, *messages: bytes) -> list[bool]:
    """Deliver these messages; whether each gets an answer that is not empty."""
    answers = []
    # The daemon disconnects a connector that does not read.
    for start in range(0, len(messages), 50):
        part = messages[start : start + 50]
        peer.say(*(Deliver(1, each) for each in part))
        answers += [bool((await peer.hear())["message"]) for _ in part]
    return answers


@pytest.mark.parametrize("make", [inquiry, question])
@pytest.mark.parametrize("junk", ["stranger", "forged", "captured"])
def test_junk_uses_up_no_answers_to_honest_messages(tmp_path: Path, make: Any, junk: str) -> None:
    """After a flood of forged or captured messages of a kind, the honest one is answered."""
    sent = {
        "stranger": [make(each, STRANGER) for each in range(3 * BURST)],
        "forged": [with_body(make(0), nonce=nonce(each).hex()) for each in range(1, 3 * BURST)],
        "captured": [make(0)] * (3 * BURST),
    }[junk]

    async def course(_: FleetHouse, peer: Peer) -> None:
        answers = await flood(peer, *sent)
        # The captured one is answered once as new, and then as a repetition.
        assert sum(answers) == BURST + (junk == "captured")
        assert await flood(peer, make(1_000_000)) == [True]

    at_fleet(tmp_path, course)


@pytest.mark.parametrize("make", [inquiry, question])
def test_an_issuers_messages_are_answered_only_so_often(tmp_path: Path, make: Any) -> None:
    """Different inquiries, or questions, of an issuer are answered up to their limit."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        answers = await flood(peer, *(make(each) for each in range(BURST + 5)))
        assert answers == [True] * BURST + [False] * 5
        at.clock.advance(1 / FLEET.asked_per_second)
        assert await flood(peer, make(1_000), make(1_001)) == [True, False]

    at_fleet(tmp_path, course)


def test_a_late_lease_is_refused_in_words_during_a_flood_of_forged_ones(tmp_path: Path) -> None:
    """A gateway whose clock is wrong is told so, whatever strangers have used up."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        elsewhere = lease(host="i-00000000000000002").seal(ISSUER)
        junk = [forged(each) for each in range(BURST)] + [elsewhere] * BURST
        assert sum(await flood(peer, *junk)) == BURST
        late = lease(issued_at=MOMENT - 60_000, ends_at=MOMENT).seal(ISSUER)
        answer = await at.tell(peer, late)
        assert isinstance(answer, Refusal)
        assert "clocks" in answer.words

    at_fleet(tmp_path, course)


def test_forged_leases_are_verified_only_so_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood in an issuer's name costs bounded verifications, also over new connections.

    Up to the bound no honest lease is lost; beyond it one is taken as soon as there is room.
    """
    verified: list[bytes] = []
    verify = PublicKey.verify

    def count(key: PublicKey, kind: str, body: bytes, signature: bytes) -> None:
        if kind == LEASE_KIND:
            verified.append(body)
        verify(key, kind, body, signature)

    monkeypatch.setattr(PublicKey, "verify", count)

    def honest(number: int) -> bytes:
        mark = Mark(number.to_bytes(32, "big"), MOMENT)
        return lease(mark=mark, nonce=nonce(number), os_user=f"u{number}").seal(ISSUER)

    async def course(at: FleetHouse, peer: Peer) -> None:
        for number in range(4):
            first = number * VERIFIED // 4
            junk = [forged(each) for each in range(first, first + VERIFIED // 4)]
            await flood(peer, *junk[:-10])
            assert isinstance(await at.tell(peer, honest(number + 1)), Acknowledgement)
            await flood(peer, *junk[-10:])
            peer.writer.close()
            peer = await at.join()
        await flood(peer, *(forged(each) for each in range(VERIFIED, VERIFIED + 100)))
        assert len(verified) == VERIFIED + 4
        assert await flood(peer, honest(8)) == [False]
        at.clock.advance(2 / FLEET.verified_per_second)
        assert isinstance(await at.tell(peer, honest(9)), Acknowledgement)
        peer.writer.close()

    at_fleet(tmp_path, course)


def test_honest_messages_use_up_nothing() -> None:
    """However many messages an issuer signed, forged ones have their tokens, and no more."""
    pace = MessagePace(0.0)
    for number in range(3 * VERIFIED):
        digest = nonce(number)
        assert pace.admits(digest, 0.0)
        pace.note_genuine(digest)
        pace.note_genuine(digest)
    taken = [pace.admits(nonce(-number % (1 << 64)), 0.0) for number in range(1, VERIFIED + 2)]
    assert taken == [True] * VERIFIED + [False]
