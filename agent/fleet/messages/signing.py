"""Ed25519 keys and signatures (RFC 8032), each signature for one kind of document only.

The signed bytes begin with the document's kind, so a signature is valid for that kind only: an
acknowledgement can never be read as a lease, nor a join token as a host's certificate.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from functools import lru_cache

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

PUBLIC, PRIVATE = "ed25519:", "ed25519-private:"
KEY_BYTES = 32
_DOMAIN = b"sixtykey fleet 1 "


class NotSigned(Exception):
    """The key did not sign these bytes as this kind of document."""


@dataclass(frozen=True)
class PublicKey:
    """An Ed25519 public key; its text, `ed25519:BASE64`, is also its id."""

    raw: bytes

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """Parse `ed25519:BASE64` in its canonical spelling. Raises ValueError."""
        return cls(_decode(PUBLIC, text))

    def __str__(self) -> str:
        return _public_text(self.raw)

    def verify(self, kind: str, body: bytes, signature: bytes) -> None:
        """Raise NotSigned unless this key signed `body` as a document of this kind."""
        try:
            VerifyKey(self.raw).verify(_bytes_to_sign(kind, body), signature)
        except (BadSignatureError, ValueError, TypeError):
            # ValueError: a signature of another length. libsodium refuses points of small order.
            raise NotSigned(f"the signature is not that of {self} for a {kind}") from None


@dataclass(frozen=True)
class PrivateKey:
    """An Ed25519 private key, kept as its seed."""

    seed: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> PrivateKey:
        """Make a random key."""
        return cls(bytes(SigningKey.generate()))

    @classmethod
    def parse(cls, text: str) -> PrivateKey:
        """Parse a file's only line, `ed25519-private:BASE64`. Raises ValueError."""
        return cls(_decode(PRIVATE, text.strip()))

    def dump(self) -> str:
        """The line for a file. It is secret: its reader can sign with this key."""
        return _encode(PRIVATE, self.seed) + "\n"

    @property
    def public(self) -> PublicKey:
        """The public key that verifies what this one signs."""
        return _pair(self.seed)[1]

    def sign(self, kind: str, body: bytes) -> bytes:
        """Sign `body` as a document of this kind; returns 64 bytes."""
        return bytes(_pair(self.seed)[0].sign(_bytes_to_sign(kind, body)).signature)


@lru_cache(16)
def _public_text(raw: bytes) -> str:
    """A public key's text, cached: a gateway writes its own twice for each push."""
    return _encode(PUBLIC, raw)


@lru_cache(16)
def _pair(seed: bytes) -> tuple[SigningKey, PublicKey]:
    """The key pair of a seed, cached: to derive it costs as much as a signature."""
    key = SigningKey(seed)
    return key, PublicKey(bytes(key.verify_key))


def _bytes_to_sign(kind: str, body: bytes) -> bytes:
    """The bytes to sign. No kind contains a NUL, so it separates kind and body unambiguously."""
    return _DOMAIN + kind.encode("ascii") + b"\0" + body


def _encode(prefix: str, raw: bytes) -> str:
    return prefix + base64.b64encode(raw).decode("ascii")


def _decode(prefix: str, text: str) -> bytes:
    wrong = ValueError(f"a key looks like {prefix} and 44 characters of base64")
    if not text.startswith(prefix):
        raise wrong
    try:
        raw = base64.b64decode(text[len(prefix) :], validate=True)
    except (binascii.Error, ValueError):
        raise wrong from None
    # Base64 has spare bits: accept only the canonical spelling.
    if len(raw) != KEY_BYTES or _encode(prefix, raw) != text:
        raise wrong
    return raw
