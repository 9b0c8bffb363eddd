"""Fuzz targets of a fleet: received documents, and bodies that a trusted key has signed."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any, Callable

from agent.config.key_policy import KeyPolicy
from agent.fleet.bus import jwt, nkeys
from agent.fleet.bus.nkeys import KeyPair
from agent.fleet.messages import documents, lease_exchange, membership
from agent.fleet.messages.certificates import CERTIFICATE, HostCertificate
from agent.fleet.messages.description import DESCRIPTION, INQUIRY, Description, Inquiry
from agent.fleet.messages.documents import Rejected
from agent.fleet.messages.explanation import EXPLANATION, QUESTION, Explanation, Question
from agent.fleet.messages.lease_exchange import (
    ACKNOWLEDGEMENT,
    LEASE,
    REFUSAL,
    Acknowledgement,
    LeaseMessage,
    Mark,
    Refusal,
)
from agent.fleet.messages.membership import HostKeys, HostRequest, Membership
from agent.fleet.messages.signing import PrivateKey
from agent.fleet.messages.tokens import KIND, JoinToken

_KEY = PrivateKey(bytes(range(32)))
_NOW, _HOST = 1_800_000_000.0, "i-0f1e2d3c4b5a69788"
_MS = int(_NOW * 1000)
_DIGEST = bytes(32)
_USER = KeyPair(nkeys.USER, bytes(range(1, 33)))
_LEASE = LeaseMessage(
    _HOST, "ec2-user", "ssh-ed25519 AAAA", _MS, _MS + 60_000, bytes(16), _KEY.public,
    "00000000-0000-4000-8000-000000000000", "AKIA", "192.0.2.7", KeyPolicy(lifetime=60),
    "us-east-2b", Mark(_DIGEST, _MS),
)  # fmt: skip
_CERTIFICATE = HostCertificate(_HOST, "web-1", _KEY.public, _USER.public, {"a": "b"}, _MS, _MS + 1)
_TOKEN = JoinToken(
    bytes(16), "https://a:1", _DIGEST, ("web-*",), ("*",), {}, 1, _MS, _MS + 1000
)  # fmt: skip
_MEMBERSHIP = Membership(
    _DIGEST, "certificate", "token", (_KEY.public,), ("tls://a:1",), ("https://a:1",), b"der"
)
_DESCRIPTION = Description(_DIGEST, _HOST, "1", "us-east-2b", ("192.0.2.7",), (), 60, "once")
_QUESTION = Question(_HOST, "ec2-user", "AKIA", _MS, bytes(16))
_DECISION = {
    "event": "push", "outcome": "allowed", "age": 1.5, "times": 1, "principal": "AKIA",
    "os_user": "ec2-user", "fingerprint": "SHA256:x", "reason": "\u00e9",
}  # fmt: skip
_EXPLANATION = Explanation(_DIGEST, _HOST, "us-east-2b", [_DECISION], True)
_REQUEST = HostRequest.seal(membership.JOIN, _HOST, "web-1", HostKeys(_KEY, _USER), "x", _MS)


def _membership(envelope: bytes) -> Membership:
    """Parse it as the answer to the request that it names, so that only its form is checked."""
    body = documents.unseal(envelope, {membership.MEMBERSHIP}, {_KEY.public}).content
    named = body.get("request")
    if named != hashlib.sha256(b"").hexdigest():
        raise Rejected("another request's")
    return Membership.open(envelope, {_KEY.public}, b"")


def _token(envelope: bytes) -> JoinToken:
    text = base64.urlsafe_b64encode(envelope).decode("ascii").rstrip("=")
    return JoinToken.parse(_TOKEN_PREFIX + text, {_KEY.public})[0]


_TOKEN_PREFIX = _TOKEN.dump(_KEY).partition("eyJ")[0]
_OPEN: dict[str, Callable[[bytes], Any]] = {
    LEASE: lambda text: LeaseMessage.open(text, {_KEY.public}),
    ACKNOWLEDGEMENT: lambda text: lease_exchange.open_answer(text, _HOST, _KEY.public, _DIGEST),
    REFUSAL: lambda text: lease_exchange.open_answer(text, _HOST, _KEY.public, _DIGEST),
    CERTIFICATE: lambda text: HostCertificate.open(text, {_KEY.public}),
    INQUIRY: lambda text: Inquiry.open(text, {_KEY.public}),
    DESCRIPTION: lambda text: Description.open(text, _HOST, _KEY.public, _DIGEST),
    QUESTION: lambda text: Question.open(text, {_KEY.public}),
    EXPLANATION: lambda text: Explanation.open(text, _KEY.public, _QUESTION, _DIGEST),
    membership.MEMBERSHIP: _membership,
    KIND: _token,
}
_KINDS = list(_OPEN)


def envelopes(data: bytes) -> None:
    """Bytes from the bus, as every document: only signed ones in canonical form are accepted."""
    for opened in _OPEN.values():
        try:
            opened(data)
        except Rejected:
            continue
        assert documents.canonical(documents.read(data)) == data
    for read in (lease_exchange.open_reply, lease_exchange.digest):
        try:
            read(data)
        except Rejected:
            pass
    try:
        HostRequest.open(data, membership.JOIN, _NOW)
    except Rejected:
        pass


def bodies(data: bytes) -> None:
    """A body that a trusted key signed, of the kind of the first byte: it round-trips unchanged."""
    kind, body = _KINDS[data[:1].ljust(1, b"\0")[0] % len(_KINDS)], data[1:]
    try:
        envelope = documents.seal_body(kind, body.decode("ascii", "ignore").encode(), _KEY)
        found = _OPEN[kind](envelope)
    except Rejected:
        return
    if isinstance(found, JoinToken):
        assert found.dump(_KEY).endswith(base64.urlsafe_b64encode(envelope).decode().rstrip("="))
        return
    assert found.seal(_KEY) == envelope
    if isinstance(found, LeaseMessage):
        assert 0 < found.ends_at - found.issued_at <= found.lifetime * 1000 <= 60_000


def tokens(data: bytes) -> None:
    """The bus's tokens and .creds files."""
    text = data.decode("utf-8", "replace")
    try:
        jwt.decode(text, KeyPair(nkeys.ACCOUNT, bytes(range(2, 34))).public, "user")
    except jwt.BadToken:
        pass
    for read in (jwt.name_of, jwt.read_creds):
        try:
            read(text)
        except ValueError:
            pass
    for role in (nkeys.ACCOUNT, nkeys.OPERATOR, nkeys.USER):
        try:
            nkeys.public_bytes(text, role)
        except ValueError:
            continue
        assert text.startswith(role)


def _seed(envelope: bytes) -> bytes:
    """A valid body after the byte of its kind."""
    members = json.loads(envelope)
    body: str = members["body"]
    return bytes([_KINDS.index(members["kind"])]) + body.encode()


_GOOD = [
    _LEASE.seal(_KEY),
    Acknowledgement(_DIGEST, _HOST, "x", None).seal(_KEY),
    Refusal(_DIGEST, _HOST, "TableFull", "words", 1500).seal(_KEY),
    _CERTIFICATE.seal(_KEY),
    Inquiry(_HOST, _MS, bytes(16)).seal(_KEY),
    _DESCRIPTION.seal(_KEY),
    _QUESTION.seal(_KEY),
    _EXPLANATION.seal(_KEY),
    _MEMBERSHIP.seal(_KEY),
    base64.urlsafe_b64decode(_TOKEN.dump(_KEY)[len(_TOKEN_PREFIX) :] + "=="),
]
_SIGNER = KeyPair(nkeys.ACCOUNT, bytes(range(2, 34)))
_USERS_TOKEN = jwt.encode(jwt.Claims(_USER.public, _HOST, jwt.Times(1, 2)), _SIGNER, "user")
FLEET: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "envelopes": (
        envelopes,
        [*_GOOD, _REQUEST, lease_exchange.seal_reply(_GOOD[1], _GOOD[3])],
    ),
    "bodies": (bodies, [_seed(each) for each in _GOOD]),
    "tokens": (
        tokens,
        [
            _USERS_TOKEN.encode(),
            jwt.creds(_USERS_TOKEN, _USER).encode(),
            _USER.public.encode(),
        ],
    ),
}
