"""What is said on the source socket: one JSON object a line, in both directions.

Both sides import this, and neither anything else of the other. Parsing is strict: what is not
exactly a message of the form below is refused, and the connection closed.

    source → daemon  {"hello": "ec2", "version": 1}                       the first line
                     {"health": "well"} or {"health": "away", "reason": TEXT}
                     {"answer": N, "offers": [OFFER...], "refusals": [REFUSAL...], "failed": TEXT}
                     {"deliver": N, "message": BASE64}                     a fleet's
    daemon → source  {"ask": N, "os_user": TEXT, "fingerprint": TEXT or null}
                     {"reply": N, "message": BASE64}                       a fleet's
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Callable, Optional, Union

MAX_BYTES = 64 * 1024
"""The longest line, its line feed included."""
VERSION = 1
ROLES = ("ec2", "fleet")

_HEXADECIMAL = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Violation(ValueError):
    """Not a message; says why. Whoever sent it is not spoken with any more."""


@dataclass(frozen=True)
class Hello:
    """Who is there. `role` is one of ROLES."""

    role: str


@dataclass(frozen=True)
class Health:
    """Whether the source can be asked. `reason`: what is wrong, where it cannot."""

    well: bool
    reason: str = ""


@dataclass(frozen=True)
class Ask:
    """Which keys there are for an OS user; those with `fingerprint` (sshd's %f) matter most."""

    number: int
    os_user: str
    fingerprint: Optional[str]


@dataclass(frozen=True)
class Offered:
    """A key that the source has verified.

    Attributes:
        key: type and base64.
        left: seconds that it lives from now, above 0 and at most 60.
        digest: SHA-256 in hexadecimal of what was signed: the same for the same push.
        dated: about when it was pushed, in seconds since the Unix epoch.
        caller, request_id: who pushed it, and by which request, as the source knows them.
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
    """A key that the source has refused. What is named of it was verified."""

    reason: str
    request_id: Optional[str] = None
    caller: Optional[str] = None
    fingerprint: Optional[str] = None


@dataclass(frozen=True)
class Answer:
    """The answer to Ask. `failed`: why the source could not find out; empty when it could."""

    number: int
    offers: Sequence[Offered] = ()
    refusals: Sequence[Refusal] = ()
    failed: str = ""


@dataclass(frozen=True)
class Deliver:
    """A message out of a fleet's bus, for the daemon to decide on."""

    number: int
    message: bytes


@dataclass(frozen=True)
class Reply:
    """The daemon's answer to Deliver, to be sent where that came from."""

    number: int
    message: bytes


FromSource = Union[Hello, Health, Answer, Deliver]
FromDaemon = Union[Ask, Reply]


def encode(message: Union[FromSource, FromDaemon]) -> bytes:
    """A line. Raises Violation: it is too long for one."""
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
            "offers": [_given(each) for each in message.offers],
            "refusals": [_given(each) for each in message.refusals],
        }
        return {**document, "failed": message.failed} if message.failed else document
    name = "deliver" if isinstance(message, Deliver) else "reply"
    return {name: message.number, "message": base64.b64encode(message.message).decode()}


def _given(each: Union[Offered, Refusal]) -> dict[str, Any]:
    return {name: value for name, value in asdict(each).items() if value is not None}


def from_source(line: bytes) -> FromSource:
    """What a source says. Raises Violation."""
    document = _parse(line)
    if "hello" in document:
        return _hello(document)
    if "health" in document:
        return _health(document)
    if "answer" in document:
        _check(document, {"answer": _number, "offers": _list, "refusals": _list}, {"failed": _text})
        return Answer(
            document["answer"],
            [_offered(each) for each in document["offers"]],
            [_refusal(each) for each in document["refusals"]],
            document.get("failed", ""),
        )
    if "deliver" in document:
        return Deliver(*_carried(document, "deliver"))
    raise Violation("nothing that a source says")


def from_daemon(line: bytes) -> FromDaemon:
    """What the daemon says. Raises Violation."""
    document = _parse(line)
    if "ask" in document:
        _check(document, {"ask": _number, "os_user": _text, "fingerprint": _text_or_null})
        return Ask(document["ask"], document["os_user"], document["fingerprint"])
    if "reply" in document:
        return Reply(*_carried(document, "reply"))
    raise Violation("nothing that the daemon says")


def _parse(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_BYTES or not line.endswith(b"\n"):
        raise Violation("not a line, or too long a one")
    try:
        document = json.loads(line, object_pairs_hook=_unique, parse_constant=_no_constant)
    except Violation:
        raise
    except (ValueError, RecursionError):
        raise Violation("not JSON") from None
    if not isinstance(document, dict):
        raise Violation("not a JSON object")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise Violation("a member twice")
    return document


def _no_constant(name: str) -> None:
    raise Violation(f"{name} is no number")


def _hello(document: dict[str, Any]) -> Hello:
    _check(document, {"hello": _text, "version": _number})
    if document["hello"] not in ROLES or document["version"] != VERSION:
        raise Violation("a role or version that is not known here")
    return Hello(document["hello"])


def _health(document: dict[str, Any]) -> Health:
    if document["health"] == "well":
        _check(document, {"health": _text})
        return Health(True)
    _check(document, {"health": _text, "reason": _text})
    if document["health"] != "away":
        raise Violation("a health that is not known here")
    return Health(False, document["reason"])


def _offered(document: Any) -> Offered:
    texts = {"os_user": _text, "instance": _text, "key": _text}
    required = {**texts, "left": _left, "digest": _digest, "dated": _moment}
    _check(document, required, {"caller": _text, "request_id": _text})
    return Offered(**document)


def _refusal(document: Any) -> Refusal:
    _check(
        document, {"reason": _text}, dict.fromkeys(("request_id", "caller", "fingerprint"), _text)
    )
    return Refusal(**document)


def _carried(document: dict[str, Any], name: str) -> tuple[int, bytes]:
    _check(document, {name: _number, "message": _text})
    try:
        message = base64.b64decode(document["message"], validate=True)
    except (binascii.Error, ValueError):
        raise Violation("message is not base64") from None
    return document[name], message


Check = Callable[[Any], bool]


def _check(
    document: Any, required: Mapping[str, Check], optional: Mapping[str, Check] = {}
) -> None:
    """These members, of these kinds, and no others. Raises Violation."""
    known = {**required, **optional}
    if not isinstance(document, dict) or not required.keys() <= document.keys() <= known.keys():
        raise Violation("a member is missing, or unknown")
    for name, value in document.items():
        if not known[name](value):
            raise Violation(f"{name} has the wrong type or size")


def _text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) < MAX_BYTES and value.isprintable()


def _text_or_null(value: Any) -> bool:
    return value is None or _text(value)


def _list(value: Any) -> bool:
    return isinstance(value, list)


def _number(value: Any) -> bool:
    return type(value) is int and 0 < value < 1 << 53


def _moment(value: Any) -> bool:
    return type(value) in {int, float} and 0 <= value < 1 << 53


def _left(value: Any) -> bool:
    return type(value) in {int, float} and 0 < value <= 60


def _digest(value: Any) -> bool:
    return isinstance(value, str) and _HEXADECIMAL.fullmatch(value) is not None
