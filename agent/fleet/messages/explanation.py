"""A gateway's question about a principal's pushes, and the host's signed explanation.

`sixtykey why USER@HOST` asks it over a fleet. The host tells only of pushes that this principal
made through the fleet. Times are milliseconds of the wall clock, ages milliseconds.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.config import patterns
from agent.config.fleet_limits import FLEET
from agent.fleet.messages import documents
from agent.fleet.messages.clocks import check_clocks
from agent.fleet.messages.documents import Rejected
from agent.fleet.messages.fields import Fields, printable
from agent.fleet.messages.lease_exchange import DIGEST_BYTES, NONCE_BYTES
from agent.fleet.messages.signing import PrivateKey, PublicKey

QUESTION, EXPLANATION = "question", "explanation"
_TEXTS = ("reason", "fingerprint", "request_id", "principal", "os_user", "instance")
_EVENTS = ("push", "lookup", "admission")


@dataclass(frozen=True)
class Question:
    """What became of `principal`'s pushes for `os_user`; only an issuer is answered."""

    host: str
    os_user: str
    principal: str
    issued_at: int
    nonce: bytes

    def seal(self, key: PrivateKey) -> bytes:
        """The envelope, signed by the issuer's key."""
        content = {
            "host": self.host,
            "issued_at": self.issued_at,
            "nonce": self.nonce.hex(),
            "os_user": self.os_user,
            "principal": self.principal,
        }
        return documents.seal(QUESTION, content, key)

    @classmethod
    def open(cls, envelope: bytes, issuers: Container[PublicKey]) -> Question:
        """The question in an envelope that one of the issuers signed. Raises Rejected."""
        fields = Fields(documents.unseal(envelope, {QUESTION}, issuers).content, "the question")
        question = cls(
            fields.text("host", patterns.instance_id),
            fields.text("os_user", patterns.os_user_current),
            fields.text("principal"),
            fields.time("issued_at"),
            fields.bytes("nonce", NONCE_BYTES),
        )
        fields.end()
        return question

    def check(self, host: str, now: float) -> None:
        """Raise NotForThisHost or NotNow; `now` is this host's wall clock in seconds."""
        check_clocks(self.host, self.issued_at, host, now)


@dataclass(frozen=True)
class Explanation:
    """The host's decisions about the principal's pushes, newest first.

    `question` is the digest of the question. `decisions` have the members of `agent.audit.visible`,
    with `age` in seconds. `complete`: no older one was left out for want of room.
    """

    question: bytes
    host: str
    zone: str
    decisions: Sequence[Mapping[str, Any]]
    complete: bool

    @classmethod
    def of_newest(
        cls, question: bytes, host: str, zone: str, decisions: Sequence[Mapping[str, Any]]
    ) -> Explanation:
        """The explanation with as many of the newest decisions as there is room for."""
        room, count = FLEET.explanation_bytes, 0
        for each in decisions[: FLEET.explained]:
            # Its size in the envelope, where the body is a text, with escaped quotes.
            body = documents.canonical(_content(each)).decode("ascii")
            room -= len(documents.canonical({"": body}))
            if room < 0:
                break
            count += 1
        return cls(question, host, zone, decisions[:count], count == len(decisions))

    def seal(self, key: PrivateKey) -> bytes:
        """The envelope, signed by the host's key."""
        content = {
            "complete": self.complete,
            "decisions": list(map(_content, self.decisions)),
            "host": self.host,
            "question": self.question.hex(),
            "zone": self.zone,
        }
        return documents.seal(EXPLANATION, content, key)

    @classmethod
    def open(
        cls, envelope: bytes, key: PublicKey, question: Question, digest: bytes
    ) -> Explanation:
        """The answer of the host with this key to the question, which has this digest.

        Raises Rejected, also when it tells of another principal's pushes or another user's.
        """
        document = documents.unseal(envelope, {EXPLANATION}, {key})
        fields = Fields(document.content, "the explanation")
        found = cls(
            fields.bytes("question", DIGEST_BYTES),
            fields.text("host", patterns.instance_id),
            fields.text("zone", patterns.availability_zone),
            tuple(map(_decision, fields.objects("decisions", FLEET.explained))),
            fields.boolean("complete"),
        )
        fields.end()
        if found.host != question.host or found.question != digest:
            raise Rejected("the answer is from another host, or to another question")
        for each in found.decisions:
            if each.get("principal", question.principal) != question.principal:
                raise Rejected("the answer is about another principal's pushes")
            if each.get("os_user", question.os_user) != question.os_user:
                raise Rejected("the answer is about another user's pushes")
        return found


def _content(decision: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a decision in the document: each is there, and null where it has none."""
    content: dict[str, Any] = {
        "age": min(max(round(decision["age"] * 1000), 0), FLEET.last_time_ms),
        "event": decision["event"],
        "outcome": printable(decision["outcome"]),
        "replay": bool(decision.get("replay")),
        "times": int(decision["times"]),
    }
    for name in _TEXTS:
        value = decision.get(name)
        content[name] = None if value is None else printable(str(value))
    return content


def _decision(fields: Fields) -> Mapping[str, Any]:
    decision: dict[str, Any] = {
        "event": fields.choice("event", *_EVENTS),
        "outcome": fields.text("outcome"),
        "age": fields.time("age") / 1000,
        "times": fields.whole("times", 1, 1 << 53),
    }
    if fields.boolean("replay"):
        decision["replay"] = True
    for name in _TEXTS:
        value = fields.optional(name, fields.text)
        if value is not None:
            decision[name] = value
    fields.end()
    return decision
