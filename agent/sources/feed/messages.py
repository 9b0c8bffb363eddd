"""The messages on the source socket: one JSON object per line, in both directions.

Both sides import this module, and nothing else of each other. Parsing is strict: anything that is
not exactly a message below is refused, and the connection closed.

    source → daemon  {"hello": "ec2", "version": 1}                       the first line
                     {"health": "well"} or {"health": "away", "reason": TEXT}
                     {"answer": N, "offers": [OFFER...], "refusals": [REFUSAL...], "failed": TEXT}
                     {"deliver": N, "message": BASE64}                     a fleet's
                     {"addresses": [TEXT...]}                              a fleet's
    daemon → source  {"ask": N, "os_user": TEXT, "fingerprint": TEXT or null}
                     {"reply": N, "message": BASE64}                       a fleet's; may be empty
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Optional, Union

from agent.sources.feed import members
from agent.sources.feed.members import MAX_BYTES, Violation, check

VERSION = 1
ROLES = ("ec2", "fleet")
# The message of a Reply when the daemon has no answer. It ends the wait of the connector and of the
# gateway, which believes only what the host has signed.
NO_ANSWER = b""


@dataclass(frozen=True)
class Hello:
    """A source's role, one of ROLES."""

    role: str


@dataclass(frozen=True)
class Health:
    """Whether the source can be asked; if not, `reason` says why."""

    well: bool
    reason: str = ""


@dataclass(frozen=True)
class Ask:
    """Asks for an OS user's keys; `fingerprint` (sshd's %f) is the wanted one."""

    number: int
    os_user: str
    fingerprint: Optional[str]


@dataclass(frozen=True)
class Offered:
    """A key that the source has verified.

    Attributes:
        key: type and base64.
        left: remaining seconds of its life, above 0 and at most 60.
        digest: SHA-256 in hexadecimal of the signed data: the same for the same push.
        dated: approximate time of the push, in seconds since the Unix epoch.
        caller, request_id: who pushed it, and in which request, according to the source.
    """

    os_user: str
    instance: str
    key: str
    left: float
    digest: str
    dated: float
    caller: Optional[str] = None
    request_id: Optional[str] = None


@dataclass(frozen=True)
class Refusal:
    """A key that the source has refused. The fields that are set were verified."""

    reason: str
    request_id: Optional[str] = None
    caller: Optional[str] = None
    fingerprint: Optional[str] = None


@dataclass(frozen=True)
class Answer:
    """The answer to Ask. `failed`: why the source could not answer; empty if it could."""

    number: int
    offers: Sequence[Offered] = ()
    refusals: Sequence[Refusal] = ()
    failed: str = ""


@dataclass(frozen=True)
class Deliver:
    """A message from a fleet's bus, for the daemon to decide on."""

    number: int
    message: bytes


@dataclass(frozen=True)
class Reply:
    """The daemon's answer to Deliver, for its sender; NO_ANSWER if there is none."""

    number: int
    message: bytes


@dataclass(frozen=True)
class Addresses:
    """The IP addresses under which the source sees this host; the daemon has no network to look."""

    found: Sequence[str]


FromSource = Union[Hello, Health, Answer, Deliver, Addresses]
FromDaemon = Union[Ask, Reply]


def encode(message: Union[FromSource, FromDaemon]) -> bytes:
    """The message as a line. Raises Violation if it is too long."""
    line = json.dumps(_document(message), separators=(",", ":")).encode() + b"\n"
    if len(line) > MAX_BYTES:
        raise Violation(f"a line of {len(line)} bytes; {MAX_BYTES} are the most")
    return line


def _document(message: Union[FromSource, FromDaemon]) -> dict[str, Any]:
    if isinstance(message, Hello):
        return {"hello": message.role, "version": VERSION}
    if isinstance(message, Health):
        if message.well:
            return {"health": "well"}
        return {"health": "away", "reason": message.reason}
    if isinstance(message, Ask):
        user, fingerprint = message.os_user, message.fingerprint
        return {"ask": message.number, "os_user": user, "fingerprint": fingerprint}
    if isinstance(message, Answer):
        document: dict[str, Any] = {
            "answer": message.number,
            "offers": [_as_members(each) for each in message.offers],
            "refusals": [_as_members(each) for each in message.refusals],
        }
        return {**document, "failed": message.failed} if message.failed else document
    if isinstance(message, Addresses):
        return {"addresses": list(message.found)}
    name = "deliver" if isinstance(message, Deliver) else "reply"
    return {name: message.number, "message": base64.b64encode(message.message).decode()}


def _as_members(each: Union[Offered, Refusal]) -> dict[str, Any]:
    return {name: value for name, value in asdict(each).items() if value is not None}


def from_source(line: bytes) -> FromSource:
    """Parse a source's line. Raises Violation."""
    document = members.parse(line)
    if "hello" in document:
        return _parse_hello(document)
    if "health" in document:
        return _parse_health(document)
    if "answer" in document:
        check(
            document,
            {"answer": members.number, "offers": members.items, "refusals": members.items},
            {"failed": members.text},
        )
        return Answer(
            document["answer"],
            [_parse_offer(each) for each in document["offers"]],
            [_parse_refusal(each) for each in document["refusals"]],
            document.get("failed", ""),
        )
    if "deliver" in document:
        return Deliver(*_parse_carried(document, "deliver"))
    if "addresses" in document:
        check(document, {"addresses": members.addresses})
        return Addresses(document["addresses"])
    raise Violation("not a message of a source")


def from_daemon(line: bytes) -> FromDaemon:
    """Parse the daemon's line. Raises Violation."""
    document = members.parse(line)
    if "ask" in document:
        check(
            document,
            {"ask": members.number, "os_user": members.text, "fingerprint": members.text_or_null},
        )
        return Ask(document["ask"], document["os_user"], document["fingerprint"])
    if "reply" in document:
        return Reply(*_parse_carried(document, "reply", members.text_or_empty))
    raise Violation("not a message of the daemon")


def _parse_hello(document: dict[str, Any]) -> Hello:
    check(document, {"hello": members.text, "version": members.number})
    if document["hello"] not in ROLES or document["version"] != VERSION:
        raise Violation("a role or version that is not known here")
    return Hello(document["hello"])


def _parse_health(document: dict[str, Any]) -> Health:
    if document["health"] == "well":
        check(document, {"health": members.text})
        return Health(True)
    check(document, {"health": members.text, "reason": members.text})
    if document["health"] != "away":
        raise Violation("a health that is not known here")
    return Health(False, document["reason"])


def _parse_offer(document: Any) -> Offered:
    texts = {"os_user": members.text, "instance": members.name, "key": members.text}
    required = {**texts, "left": members.left, "digest": members.digest, "dated": members.moment}
    check(document, required, {"caller": members.name, "request_id": members.name})
    return Offered(**document)


def _parse_refusal(document: Any) -> Refusal:
    check(
        document,
        {"reason": members.text},
        dict.fromkeys(("request_id", "caller", "fingerprint"), members.name),
    )
    return Refusal(**document)


def _parse_carried(
    document: dict[str, Any], name: str, text: members.Check = members.text
) -> tuple[int, bytes]:
    check(document, {name: members.number, "message": text})
    try:
        message = base64.b64decode(document["message"], validate=True)
    except (binascii.Error, ValueError):
        raise Violation("message is not base64") from None
    return document[name], message
