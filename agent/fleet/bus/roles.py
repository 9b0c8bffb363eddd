"""The permissions of each role on the bus: the claims of operator, accounts and users.

A user's token carries no permissions. Each of the account's signing keys has a scope: a template of
permissions in which the server fills in the user's name. A token that the key signs cannot exceed
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.config.fleet_limits import FLEET
from agent.fleet.bus import jwt
from agent.fleet.bus.jwt import Claims, Times
from agent.fleet.bus.nkeys import KeyPair

HOST, GATEWAY = "host", "gateway"
# The subjects of one host, of all hosts, and of a gateway's answers. The server fills in
# `{{name()}}`.
HOST_SUBJECT, HOST_SUBJECTS = "sk.host.{{name()}}", "sk.host.*"
GATEWAY_INBOX = "_INBOX.{{name()}}.>"
# The server's own service that lists and counts an account's connections.
CONNECTIONS = "$SYS.REQ.ACCOUNT.PING.CONNZ"
STATISTICS = "$SYS.REQ.ACCOUNT.PING.STATZ"
_NANOSECONDS = 1_000_000_000
_EVERYTHING: Sequence[str] = (">",)


@dataclass(frozen=True)
class AccountKeys:
    """The account's public nkeys: its own, and the signing key of each role."""

    identity: str
    host_signer: str
    gateway_signer: str


def operator(keys: KeyPair, signer: str, system_account: str, now: int) -> str:
    """The operator's token: only its signing key signs accounts, and users must be scoped."""
    nats = {
        "signing_keys": [signer],
        "strict_signing_key_usage": True,
        "system_account": system_account,
    }
    return jwt.encode(Claims(keys.public, "sixtykey", Times(now), nats), keys, "operator")


def account(
    signer: KeyPair, keys: AccountKeys, revoked: Mapping[str, int], now: int, name: str = "fleet"
) -> str:
    """The fleet's account. `revoked`: public nkeys; tokens issued up to the time (s) are void."""
    nats = {
        "default_permissions": _nothing(),
        "limits": _account_limits(),
        "revocations": dict(revoked),
        "signing_keys": [_host_scope(keys.host_signer), _gateway_scope(keys.gateway_signer)],
    }
    return jwt.encode(Claims(keys.identity, name, Times(now), nats), signer, "account")


def system_account(signer: KeyPair, identity: str, user_signer: str, now: int) -> str:
    """The servers' system account; its users have all permissions."""
    nats = {"limits": _account_limits(), "signing_keys": [user_signer]}
    return jwt.encode(Claims(identity, "SYS", Times(now), nats), signer, "account")


def user(signer: KeyPair, account: str, name: str, nkey: str, times: Times) -> str:
    """A scoped user: the signing key's scope gives the permissions, so the token has none."""
    nats = {"issuer_account": account, "pub": {}, "sub": {}}
    return jwt.encode(Claims(nkey, name, times, nats), signer, "user")


def system_user(signer: KeyPair, account: str, nkey: str, now: int) -> str:
    """A user of the system account, which has no scopes: it has all permissions."""
    nats = {
        "issuer_account": account,
        "pub": {},
        "sub": {},
        "subs": -1,
        "data": -1,
        "payload": -1,
        "allowed_connection_types": ["STANDARD"],
    }
    return jwt.encode(Claims(nkey, "system", Times(now), nats), signer, "user")


def revocations(account: Claims) -> dict[str, int]:
    """The nkeys that the account's token revokes, and up to which time of issue (s)."""
    found = account.nats.get("revocations") or {}
    return {str(nkey): int(until) for nkey, until in found.items()}


def _host_scope(signer: str) -> dict[str, Any]:
    template = {
        **_user_limits(FLEET.host_subscriptions),
        # A host may publish only answers: one for each message, and without delay.
        "pub": {"deny": _EVERYTHING},
        "resp": {"max": 1, "ttl": int(FLEET.answer_seconds * _NANOSECONDS)},
        "sub": {"allow": [HOST_SUBJECT]},
    }
    return {"kind": "user_scope", "key": signer, "role": HOST, "template": template}


def _gateway_scope(signer: str) -> dict[str, Any]:
    template = {
        **_user_limits(FLEET.gateway_subscriptions),
        "pub": {"allow": [HOST_SUBJECTS, CONNECTIONS, STATISTICS]},
        "sub": {"allow": [GATEWAY_INBOX]},
    }
    return {"kind": "user_scope", "key": signer, "role": GATEWAY, "template": template}


def _user_limits(subscriptions: int) -> dict[str, Any]:
    return {
        "allowed_connection_types": ["STANDARD"],
        "data": -1,
        "payload": FLEET.document_bytes * 2,
        "subs": subscriptions,
    }


def _account_limits() -> dict[str, Any]:
    """No JetStream, leaf nodes, imports or exports; the servers' configuration limits the rest."""
    return {
        "conn": -1, "data": -1, "exports": 0, "imports": 0, "leaf": 0, "payload": -1, "subs": -1,
        "disk_storage": 0, "mem_storage": 0, "disallow_bearer": True, "wildcards": True,
    }  # fmt: skip


def _nothing() -> dict[str, Any]:
    return {"pub": {"deny": _EVERYTHING}, "sub": {"deny": _EVERYTHING}}
