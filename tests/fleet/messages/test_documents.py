"""Documents: one encoding for each content, one key and one purpose for each signature."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.fleet_limits import FLEET
from agent.fleet.messages import documents
from agent.fleet.messages.documents import ANYBODY, Rejected
from agent.fleet.messages.fields import Fields
from agent.fleet.messages.signing import NotSigned, PrivateKey, PublicKey
from tests.fleet.sample_messages import HOST, ISSUER

CONTENT: dict[str, Any] = {"a": 1, "b": ["x", None, True], "c": {"d": "é"}}
SEALED = documents.seal("lease", CONTENT, ISSUER)


def unseal(envelope: bytes) -> documents.Document:
    """Open an envelope as a lease by the issuer."""
    return documents.unseal(envelope, {"lease"}, {ISSUER.public})


def with_members(**members: Any) -> bytes:
    """The envelope with these changes, in canonical form again."""
    return documents.canonical({**json.loads(SEALED), **members})


def test_a_sealed_document_is_opened_unchanged() -> None:
    """Unsealing returns content, kind and key; the body is the content's canonical form."""
    document = unseal(SEALED)
    assert document.content == CONTENT
    assert (document.kind, document.key) == ("lease", ISSUER.public)
    assert document.body == b'{"a":1,"b":["x",null,true],"c":{"d":"\\u00e9"}}'


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
def test_any_other_byte_is_refused(place: int, change: int) -> None:
    """A document with any byte changed is refused."""
    other = bytearray(SEALED)
    other[place] ^= change
    with pytest.raises(Rejected):
        unseal(bytes(other))


@given(st.integers(0, len(SEALED) - 1))
def test_a_part_of_it_is_refused(length: int) -> None:
    """A truncated document is refused."""
    with pytest.raises(Rejected):
        unseal(SEALED[:length])


@given(st.binary(max_size=200))
def test_anything_else_is_refused(text: bytes) -> None:
    """Arbitrary bytes raise Rejected and no other error."""
    with pytest.raises(Rejected):
        unseal(text)


@pytest.mark.parametrize(
    "text",
    [
        SEALED + b"\n",
        b" " + SEALED,
        SEALED.replace(b'"kind":"lease"', b'"kind":"lease","kind":"lease"'),
        SEALED.replace(b'"kind"', b'"k\\u0069nd"'),
        json.dumps(json.loads(SEALED)).encode(),
        json.dumps(json.loads(SEALED), indent=1).encode(),
        b"\xef\xbb\xbf" + SEALED,
        SEALED.decode().encode("utf-16"),
        b"[" * 20_000,
        b'{"a":' * 3000,
        b'{"a":1.0}',
        b'{"a":NaN}',
        b'{"a":-0}',
        b'{"a":1e3}',
        b"[]",
        b"null",
        b'"x"',
        b"",
    ],
)
def test_another_spelling_is_refused(text: bytes) -> None:
    """A document that is not in canonical form is refused."""
    with pytest.raises(Rejected):
        unseal(text)


@pytest.mark.parametrize(
    "members",
    [
        {"kind": "acknowledgement"},
        {"kind": 1},
        {"key": str(HOST.public)},
        {"key": "ed25519:AAAA"},
        {"key": None},
        {"body": "{}"},
        {"body": "\u00e9"},
        {"body": "\ud800"},
        {"signature": ""},
        {"signature": base64.b64encode(bytes(64)).decode()},
        {"signature": json.loads(SEALED)["signature"].rstrip("=")},
        {"signature": "\u00e9" * 88},
        {"extra": ""},
    ],
    ids=str,
)
def test_other_members_are_refused(members: dict[str, Any]) -> None:
    """An envelope with a wrong kind, key, body or signature, or an unknown member, is refused."""
    with pytest.raises(Rejected):
        unseal(with_members(**members))


def test_a_missing_member_is_refused() -> None:
    """An envelope that lacks one of its four members is refused."""
    for name in ("body", "key", "kind", "signature"):
        members = {key: value for key, value in json.loads(SEALED).items() if key != name}
        with pytest.raises(Rejected, match="envelope has"):
            unseal(documents.canonical(members))


def test_a_signature_is_for_one_kind_only() -> None:
    """A lease's signature is not valid for any other kind of document."""
    for kind in ("acknowledgement", "refusal", "certificate", "join token"):
        with pytest.raises(Rejected, match="signature is not"):
            documents.unseal(with_members(kind=kind), {kind}, ANYBODY)
    with pytest.raises(Rejected, match="is not what is taken here"):
        documents.unseal(SEALED, {"acknowledgement"}, ANYBODY)


def test_a_signature_by_an_untrusted_key_is_refused() -> None:
    """A valid signature by a key that is not trusted is refused, and the error names the key."""
    with pytest.raises(Rejected, match="not a key that is trusted"):
        documents.unseal(SEALED, {"lease"}, {HOST.public})


def test_a_document_that_is_too_large_is_refused() -> None:
    """A document that is too large can be neither made nor read."""
    with pytest.raises(Rejected, match="larger than"):
        documents.seal("lease", {"a": "x" * FLEET.document_bytes}, ISSUER)
    with pytest.raises(Rejected, match="larger than"):
        unseal(b" " * (FLEET.document_bytes + 1))


@pytest.mark.parametrize("public", [bytes(32), b"\x01" + bytes(31), b"\xff" * 32], ids=repr)
def test_a_weak_key_verifies_nothing(public: bytes) -> None:
    """A public key of small order verifies no signature (RFC 8032, section 5.1.7)."""
    for signature in (bytes(64), b"\x01" + bytes(63), public + bytes(32)):
        with pytest.raises(NotSigned):
            PublicKey(public).verify("lease", b"{}", signature)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ed25519:",
        "ed25519:" + "A" * 43,
        "ED25519:" + base64.b64encode(bytes(32)).decode(),
        "ed25519:" + base64.b64encode(bytes(31)).decode(),
        "ed25519:" + base64.b64encode(bytes(32)).decode() + "\n",
        "ed25519:" + "A" * 42 + "B=",
        "ed25519: " + base64.b64encode(bytes(32)).decode(),
        "ed25519-private:" + base64.b64encode(bytes(32)).decode(),
    ],
)
def test_a_public_key_has_one_spelling(text: str) -> None:
    """A public key in any other spelling is refused."""
    with pytest.raises(ValueError, match="a key looks like"):
        PublicKey.parse(text)


def test_keys_come_back_from_their_text() -> None:
    """Keys are read back from their text, and a private key's repr does not show its secret."""
    assert PrivateKey.parse(ISSUER.dump()) == ISSUER
    assert PublicKey.parse(str(ISSUER.public)) == ISSUER.public
    assert ISSUER.seed.hex() not in repr(ISSUER) + str(ISSUER)
    assert PrivateKey.generate() != PrivateKey.generate()


def _fields(**members: Any) -> Fields:
    return Fields(members, "it")


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (True, lambda fields: fields.whole("a", 0, 9)),
        (10, lambda fields: fields.whole("a", 0, 9)),
        ("1", lambda fields: fields.whole("a", 0, 9)),
        (1, lambda fields: fields.boolean("a")),
        ("", lambda fields: fields.text("a")),
        ("a\n", lambda fields: fields.text("a")),
        ("\ud800", lambda fields: fields.text("a")),
        ("\u202e", lambda fields: fields.text("a")),
        ("x" * 513, lambda fields: fields.text("a")),
        (None, lambda fields: fields.text("a")),
        ("A0", lambda fields: fields.bytes("a", 1)),
        ("0", lambda fields: fields.bytes("a", 1)),
        ("a", lambda fields: fields.choice("a", "b")),
        ("a", lambda fields: fields.texts("a")),
        (["a", 1], lambda fields: fields.texts("a")),
        (["a"] * 33, lambda fields: fields.texts("a")),
        ({"a": 1}, lambda fields: fields.tags("a")),
        ({"": "a"}, lambda fields: fields.tags("a")),
        ([], lambda fields: fields.object("a")),
        ("ed25519:", lambda fields: fields.key("a")),
        (-1, lambda fields: fields.time("a")),
    ],
)
def test_a_member_of_another_form_is_refused(value: Any, read: Any) -> None:
    """Each reader accepts its own type and form only, and the error names the member."""
    with pytest.raises(Rejected, match=r"^it\.a "):
        read(_fields(a=value))


def test_members_are_neither_missing_nor_unknown() -> None:
    """A missing member is refused, even an optional one, and so is an unknown member."""
    with pytest.raises(Rejected, match="it has no a"):
        _fields().text("a")
    with pytest.raises(Rejected, match="it has no a"):
        _fields().optional("a", _fields().text)
    with pytest.raises(Rejected, match="unknown member 'a'"):
        _fields(a=1).end()
    assert _fields(a=None).optional("a", _fields().text) is None
