"""Signed documents: canonical JSON in an envelope, read strictly, or not at all.

An envelope is {"body":TEXT,"key":ID,"kind":KIND,"signature":BASE64}. The body is itself canonical
JSON, and the signature covers its exact bytes and the kind. Canonical: ASCII, no white space,
members sorted by name, escapes as Python's json module writes them (RFC 8259); so whatever is taken
is byte for byte what we would write, and no two texts mean the same.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

from agent.config.fleet_limits import FLEET
from agent.fleet.signing import NotSigned, PrivateKey, PublicKey


class Rejected(Exception):
    """A document cannot be taken; the words say why."""


class _Anybody:
    """Every key: the document says itself whose it is, and its signature that they have the key."""

    def __contains__(self, key: object) -> bool:
        return isinstance(key, PublicKey)


ANYBODY = _Anybody()


@dataclass(frozen=True)
class Document:
    """What an envelope held, its signature verified; `body` are the bytes that were signed."""

    kind: str
    key: PublicKey
    body: bytes

    @property
    def content(self) -> Mapping[str, Any]:
        """The body's members."""
        return read(self.body)


def canonical(value: Mapping[str, Any]) -> bytes:
    """The one text of a JSON object."""
    return _ENCODER.encode(value).encode("ascii")


def read(text: bytes, most: int = FLEET.document_bytes) -> Mapping[str, Any]:
    """A JSON object from its canonical text, with whole numbers only. Raises Rejected."""
    if len(text) > most:
        raise Rejected(f"larger than {most} bytes")
    try:
        value = _DECODER.decode(text.decode("ascii"))
        # Members given twice do not come back either: the last one alone is left.
        same = isinstance(value, dict) and canonical(value) == text
    except (ValueError, RecursionError):
        raise Rejected("not canonical JSON") from None
    if not same:
        raise Rejected("not a JSON object in its canonical form")
    return dict(value)


def seal(kind: str, content: Mapping[str, Any], key: PrivateKey) -> bytes:
    """The envelope of a document that `key` signs. Raises Rejected: it is too large."""
    return seal_body(kind, canonical(content), key)


def seal_body(kind: str, body: bytes, key: PrivateKey) -> bytes:
    """The same of a body that is canonical JSON already."""
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
    """The document in an envelope, which one of the `trusted` keys has signed.

    Raises:
        Rejected: malformed, of another kind, by another key, or the signature is wrong.
    """
    members = read(envelope)
    if set(members) != {"body", "key", "kind", "signature"}:
        raise Rejected("an envelope has body, key, kind and signature, and nothing else")
    if not all(isinstance(value, str) for value in members.values()):
        raise Rejected("an envelope's members are texts")
    kind = members["kind"]
    if kind not in kinds:
        raise Rejected(f"a {kind[:32]!r} is not what is taken here")
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
    """Bytes from their one spelling in base64. Raises Rejected."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Rejected("the signature is not base64") from None
    if base64.b64encode(raw).decode("ascii") != text:
        raise Rejected("the signature is not spelled canonically")
    return raw


def _no_number(text: str) -> Any:
    raise ValueError(f"{text[:16]} is not a whole number")


# Made once: a gateway reads and writes ten of them for each push.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
_DECODER = json.JSONDecoder(parse_float=_no_number, parse_constant=_no_number)
