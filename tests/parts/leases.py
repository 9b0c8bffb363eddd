"""Keys and leases for tests of the core: any number, all different, without ssh-keygen."""

from __future__ import annotations

import base64
import itertools
import struct
import uuid
from typing import Any, Optional

from agent.config.settings import Keys
from agent.leases.keys import PublicKey
from agent.leases.lease import AcceptedMark, Lease, ReplayMark

_NUMBERS = itertools.count(1)


def ed25519_line(number: int) -> str:
    """An Ed25519 line that differs with `number`; its private key does not exist."""
    raw = number.to_bytes(32, "big")
    blob = struct.pack(">I", 11) + b"ssh-ed25519" + struct.pack(">I", 32) + raw
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


def ed25519_key(number: Optional[int] = None) -> PublicKey:
    """The key of `ed25519_line`; without a number, a new one."""
    text = ed25519_line(next(_NUMBERS) + (1 << 128) if number is None else number)
    return PublicKey.parse(text, Keys(types=("ssh-ed25519",)))


def make_lease(
    os_user: str = "alice",
    key: Optional[PublicKey] = None,
    *,
    at: float = 1000.0,
    lifetime: float = 60.0,
    **more: Any,
) -> Lease:
    """A lease pushed at `at` (CLOCK_BOOTTIME, s); `more` are further fields of it."""
    fields: dict[str, Any] = {
        "os_user": os_user,
        "key": ed25519_key() if key is None else key,
        "request_id": str(uuid.uuid4()),
        "principal": "AKIAIOSFODNN7EXAMPLE",
        "source": "127.0.0.1",
        "pushed_at": at,
        "expires_at": at + lifetime,
    }
    return Lease(**{**fields, **more})


def mark(number: int, at: float = 1_800_000_000.0) -> ReplayMark:
    """An offer's mark and its date (s since the Unix epoch)."""
    return ReplayMark(number.to_bytes(32, "big"), at)


def accepted(lease: Lease) -> AcceptedMark:
    """The mark to remember for a lease that has one."""
    assert lease.mark is not None
    return AcceptedMark(lease.mark, lease.request_id, lease.sharer or lease.principal)
