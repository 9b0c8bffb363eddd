"""Signed documents: canonical JSON in an envelope, read strictly.

An envelope is {"body":TEXT,"key":ID,"kind":KIND,"signature":BASE64}. The body is canonical JSON
too, and the signature covers its exact bytes and the kind. Canonical means: ASCII, no white space,
members sorted by name, escapes as Python's json module writes them (RFC 8259). So a document is
accepted only if it equals, byte for byte, what this module would write.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

from agent.config.fleet_limits import FLEET
from agent.fleet.messages.signing import NotSigned, PrivateKey, PublicKey

# How a host of an older version refuses a kind of document that it does not know.
UNKNOWN_KIND = "is not what is taken here"


class Rejected(Exception):
    """A document is not acceptable; the text says why."""


class _Anybody:
    """Contains every key: the document names its own key, and the signature proves its use."""

    def __contains__(self, key: object) -> bool:
        return isinstance(key, PublicKey)


ANYBODY = _Anybody()


@dataclass(frozen=True)
class Document:
    """The verified content of an envelope; `body` is the bytes that were signed."""

    kind: str
    key: PublicKey
    body: bytes

    @property
    def content(self) -> Mapping[str, Any]:
        """The body's members."""
        return read(self.body)


def canonical(value: Mapping[str, Any]) -> bytes:
    """The canonical text of a JSON object."""
    return _ENCODER.encode(value).encode("ascii")


def read(text: bytes, most: int = FLEET.document_bytes) -> Mapping[str, Any]:
    """Parse a JSON object from its canonical text; numbers are integers. Raises Rejected."""
    if len(text) > most:
        raise Rejected(f"larger than {most} bytes")
    try:
        value = _DECODER.decode(text.decode("ascii"))
        # This also refuses duplicate members: the parser keeps only the last one.
        same = isinstance(value, dict) and canonical(value) == text
    except (ValueError, RecursionError):
        raise Rejected("not canonical JSON") from None
    if not same:
        raise Rejected("not a JSON object in its canonical form")
    return dict(value)


def seal(kind: str, content: Mapping[str, Any], key: PrivateKey) -> bytes:
    """Sign a document with `key`, and return its envelope. Raises Rejected: it is too large."""
    return seal_body(kind, canonical(content), key)


def seal_body(kind: str, body: bytes, key: PrivateKey) -> bytes:
    """The same for a body that is canonical JSON already."""
    envelope = canonical(
        {
            "body": body.decode("ascii"),
            "key": str(key.public),
            "kind": kind,
            "signature": base64.b64encode(key.sign(kind, body)).decode("ascii"),
        }
    )
    if len(envelope) > FLEET.document_bytes:
        raise Rejected(f"the {kind} is larger than {FLEET.document_bytes} bytes")
    return envelope


def unseal(envelope: bytes, kinds: Container[str], trusted: Container[PublicKey]) -> Document:
    """Open an envelope that one of the `trusted` keys signed.

    Raises:
        Rejected: it is malformed, of another kind, by another key, or wrongly signed.
    """
    members = read(envelope)
    if set(members) != {"body", "key", "kind", "signature"}:
        raise Rejected("an envelope has body, key, kind and signature, and nothing else")
    if not all(isinstance(value, str) for value in members.values()):
        raise Rejected("an envelope's members are texts")
    kind = members["kind"]
    if kind not in kinds:
        raise Rejected(f"a {kind[:32]!r} {UNKNOWN_KIND}")
    try:
        key = PublicKey.parse(members["key"])
        body = members["body"].encode("ascii")
    except ValueError:
        raise Rejected("the envelope's key or body is not readable") from None
    if key not in trusted:
        raise Rejected(f"{key} is not a key that is trusted for a {kind}")
    try:
        key.verify(kind, body, _base64(members["signature"]))
    except NotSigned as error:
        raise Rejected(str(error)) from None
    return Document(kind, key, body)


def _base64(text: str) -> bytes:
    """Decode canonical base64. Raises Rejected."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Rejected("the signature is not base64") from None
    if base64.b64encode(raw).decode("ascii") != text:
        raise Rejected("the signature is not in canonical base64")
    return raw


def _no_number(text: str) -> Any:
    raise ValueError(f"{text[:16]} is not a whole number")


# Made once, since a gateway encodes and decodes ten documents for each push.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
_DECODER = json.JSONDecoder(parse_float=_no_number, parse_constant=_no_number)
