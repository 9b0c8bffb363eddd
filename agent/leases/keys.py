"""SSH public keys: parsed by paramiko, and accepted only if their re-encoding equals the blob.

Ed25519 keys, by far the most, have one form only, and are compared with it.

The input is one `type base64 [comment]` line (sshd(8), AUTHORIZED_KEYS FILE FORMAT); the output is
type, blob and fingerprint. sshd's line is encoded from these: the caller's comment, options and
spelling are dropped.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from functools import cached_property

from agent.config.limits import LIMITS
from agent.config.settings import Keys
from agent.leases.paramiko_keys import ECDSAKey, PKey, RSAKey

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_WHITE_SPACE = re.compile(r"[ \t]+")
# An Ed25519 key's blob: the type and 32 bytes, each with its length before it (RFC 8709 section 4).
_ED25519, _ED25519_BYTES = b"\0\0\0\x0bssh-ed25519\0\0\0\x20", 32
_CURVES = {"ecdsa-sha2-nistp256": 256, "ecdsa-sha2-nistp384": 384, "ecdsa-sha2-nistp521": 521}


class KeyRejected(ValueError):
    """This is not a public key that is accepted here; the message says what to change."""


@dataclass(frozen=True)
class PublicKey:
    """A valid SSH public key; `blob` is its wire form (RFC 4253 6.6, RFC 8709, RFC 5656)."""

    type: str
    blob: bytes
    bits: int

    @classmethod
    def parse(cls, text: str, rules: Keys) -> PublicKey:
        """One key from one line, with or without a comment and trailing white space.

        Raises:
            KeyRejected: anything but one whole, canonical key that `rules` accept.
        """
        name, blob = _split(text, rules.types)
        key = cls(name, blob, _bits(name, blob))
        key.check(rules)
        return key

    def check(self, rules: Keys) -> None:
        """Raise KeyRejected unless its type and size are accepted."""
        if self.type not in rules.types:
            raise KeyRejected(f"{self.type} keys are not accepted, only {', '.join(rules.types)}")
        least, most = rules.rsa_min_bits, LIMITS.rsa_max_bits
        if self.type == "ssh-rsa" and not least <= self.bits <= most:
            raise KeyRejected(f"the RSA key has {self.bits} bits; {least} to {most} are accepted")

    @cached_property
    def fingerprint(self) -> str:
        """`SHA256:` and unpadded base64, as `ssh-keygen -l` and sshd's %f print it."""
        digest = hashlib.sha256(self.blob).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    @cached_property
    def md5_fingerprint(self) -> str:
        """`MD5:` and hexadecimal pairs: sshd's %f under `FingerprintHash md5`."""
        digest = hashlib.md5(self.blob, usedforsecurity=False).digest()
        return "MD5:" + digest.hex(":")

    @cached_property
    def base64(self) -> str:
        """The blob in base64 (RFC 4648 section 4), as in an authorized_keys line."""
        return base64.b64encode(self.blob).decode()

    def line(self, comment: str) -> str:
        """The authorized_keys line, newline included; `comment` must not come from a caller."""
        return f"{self.type} {self.base64} {comment}\n"


def _split(text: str, types: tuple[str, ...]) -> tuple[str, bytes]:
    """The type and blob of a line; only the text is checked."""
    line = text.rstrip(" \t\r\n")
    if "PRIVATE KEY" in line:
        raise KeyRejected("this is a private key: keep it, and push the .pub file instead")
    if _CONTROL.search(line):
        raise KeyRejected("the key must be a single line without control characters")
    fields = _WHITE_SPACE.split(line.lstrip(" \t"), 2)
    if len(fields) < 2:
        raise KeyRejected("the key must read: type base64 [comment]")
    name, encoded = fields[:2]
    if name not in types and not set(types).isdisjoint(_WHITE_SPACE.split(line)):
        raise KeyRejected("options before the key are not accepted: send only type and base64")
    if name.endswith("-cert-v01@openssh.com"):
        raise KeyRejected("this is a certificate: push the plain public key")
    if name not in types:
        raise KeyRejected(f"the line must begin with one of {', '.join(types)}, not {name[:64]!r}")
    return name, _decode(encoded)


def _decode(encoded: str) -> bytes:
    try:
        blob = base64.b64decode(encoded.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise KeyRejected("the key's base64 is damaged") from None
    # One spelling for each key: no stray bits in the last character, no missing padding.
    if base64.b64encode(blob).decode() != encoded:
        raise KeyRejected("the key's base64 is damaged")
    if len(blob) > LIMITS.key_blob_bytes:
        raise KeyRejected(f"the key has {len(blob)} bytes; the maximum is {LIMITS.key_blob_bytes}")
    return blob


def _bits(name: str, blob: bytes) -> int:
    """The key's size, when the blob is exactly one key of this type."""
    damaged = KeyRejected(f"the key is damaged: its data is not one whole {name} key")
    if name == "ssh-ed25519":
        if not blob.startswith(_ED25519) or len(blob) != len(_ED25519) + _ED25519_BYTES:
            raise damaged
        return 8 * _ED25519_BYTES
    try:
        key: PKey
        key = RSAKey(data=blob) if name == "ssh-rsa" else ECDSAKey(data=blob)
        encoded, bits = key.asbytes(), key.get_bits()
    except Exception:  # noqa: BLE001 - paramiko, nacl and cryptography raise a dozen types here
        raise damaged from None
    # paramiko accepts blobs with trailing bytes, truncated ones, or a padded modulus.
    if encoded != blob or key.get_name() != name or bits != _CURVES.get(name, bits):
        raise damaged
    return bits
