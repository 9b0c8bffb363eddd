"""A lease, an acknowledgement and a refusal with fixed keys, for tests and vectors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agent.config.key_policy import KeyPolicy
from agent.fleet.messages.lease_exchange import Acknowledgement, LeaseMessage, Mark, Refusal
from agent.fleet.messages.signing import PrivateKey
from tests.parts.daemon import INSTANCE_ID, ZONE

# The published seeds of RFC 8032, section 7.1, tests 1 and 2.
ISSUER = PrivateKey(
    bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
)
HOST = PrivateKey(bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"))
NOW = 1_800_000_000.0
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea"

LEASE = LeaseMessage(
    host=INSTANCE_ID,
    os_user="ec2-user",
    key=KEY,
    issued_at=int(NOW * 1000),
    ends_at=int(NOW * 1000) + 60_000,
    nonce=bytes(range(16)),
    issuer=ISSUER.public,
    request_id="00000000-0000-4000-8000-000000000000",
    principal="AKIAIOSFODNN7EXAMPLE",
    source="192.0.2.7",
    conditions=KeyPolicy(lifetime=60),
    zone=ZONE,
    mark=Mark(bytes(range(32)), int(NOW * 1000) - 1000),
)


def lease(**changes: Any) -> LeaseMessage:
    """The lease with these changes."""
    return replace(LEASE, **changes)


def acknowledgement(digest: bytes) -> Acknowledgement:
    """The host's acknowledgement of the lease with this digest."""
    return Acknowledgement(digest, INSTANCE_ID, LEASE.request_id, LEASE.ends_at)


def refusal(digest: bytes) -> Refusal:
    """The host's refusal of the lease with this digest."""
    return Refusal(digest, INSTANCE_ID, "TableFull", "This host has 10000 live keys.", 1500)
