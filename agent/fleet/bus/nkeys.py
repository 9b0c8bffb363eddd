"""nkeys: how NATS writes Ed25519 keys.

A prefix byte that names the role, the 32 bytes of the key, and their CRC-16 (XMODEM, low byte
first), all in base32 without padding; a seed has two prefix bytes, for "seed" and for the role.
Source: github.com/nats-io/nkeys, README and strkey.go.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field

from nacl.signing import SigningKey

ACCOUNT, OPERATOR, USER = "A", "O", "U"
# The first base32 letter encodes five bits of the byte; its other three bits are zero.
_ROLES = {ACCOUNT: 0 << 3, OPERATOR: 14 << 3, USER: 20 << 3}
_SEED = 18 << 3
_KEY_BYTES = 32


@dataclass(frozen=True)
class KeyPair:
    """An nkey with its seed."""

    role: str
    seed: bytes = field(repr=False)

    @classmethod
    def generate(cls, role: str) -> KeyPair:
        """Make a random pair for a role (ACCOUNT, OPERATOR, USER)."""
        return cls(role, bytes(SigningKey.generate()))

    @classmethod
    def parse(cls, text: str, role: str) -> KeyPair:
        """Parse a seed such as SUA…; it must have this role. Raises ValueError."""
        raw = _decode(text.strip(), 2)
        prefix = _ROLES[role]
        if raw[0] != _SEED | prefix >> 5 or raw[1] != (prefix & 31) << 3:
            raise ValueError(f"not the seed of a key of the role {role}")
        return cls(role, raw[2:])

    def dump(self) -> str:
        """The seed's text. It is secret: its reader can sign with this key."""
        prefix = _ROLES[self.role]
        return _encode(bytes([_SEED | prefix >> 5, (prefix & 31) << 3]) + self.seed)

    @property
    def public(self) -> str:
        """The public key's text, for instance UB…X."""
        return _encode(bytes([_ROLES[self.role]]) + bytes(SigningKey(self.seed).verify_key))

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the plain signature, which NATS uses for nonces and in JWTs."""
        return bytes(SigningKey(self.seed).sign(message).signature)


def public_bytes(text: str, role: str) -> bytes:
    """The 32 bytes of a public key's text; it must have this role. Raises ValueError."""
    raw = _decode(text, 1)
    if raw[0] != _ROLES[role]:
        raise ValueError(f"not a public key of the role {role}")
    return raw[1:]


def _encode(raw: bytes) -> str:
    checked = raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")
    return base64.b32encode(checked).decode("ascii").rstrip("=")


def _decode(text: str, prefix_bytes: int) -> bytes:
    wrong = ValueError("not an nkey")
    try:
        checked = base64.b32decode(text + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError):
        raise wrong from None
    raw = checked[:-2]
    # Encoding it again checks the CRC and the spare bits of base32.
    if len(raw) != prefix_bytes + _KEY_BYTES or _encode(raw) != text:
        raise wrong
    return raw
