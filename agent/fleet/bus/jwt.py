"""NATS JWTs: an operator signs accounts' tokens, and an account's signing key users' tokens.

Header {"typ":"JWT","alg":"ed25519-nkey"}; `iss` and `sub` are nkeys; version 2 signs
"header.claims". Source: github.com/nats-io/jwt/v2, and nats-server, which takes and refuses them in
tests/fleet/. Times are seconds since the Unix epoch.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from agent.fleet.bus import nkeys
from agent.fleet.bus.nkeys import KeyPair

_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}
_VERSION = 2


class BadToken(Exception):
    """Not a JWT, or not one that this issuer signed."""


@dataclass(frozen=True)
class Times:
    """When a token is made, and when it ends (None: never)."""

    issued_at: int
    expires_at: Optional[int] = None


@dataclass(frozen=True)
class Claims:
    """A token's content: subject (a public nkey), name, times, and NATS's own claims."""

    subject: str
    name: str
    times: Times
    nats: Mapping[str, Any] = field(default_factory=dict)


def encode(claims: Claims, issuer: KeyPair, kind: str) -> str:
    """The signed token; `kind` is operator, account or user."""
    content: dict[str, Any] = {
        "iat": claims.times.issued_at,
        "iss": issuer.public,
        "name": claims.name,
        "sub": claims.subject,
        "nats": {**claims.nats, "type": kind, "version": _VERSION},
    }
    if claims.times.expires_at is not None:
        content["exp"] = claims.times.expires_at
    # The token's identifier, derived from its content; nothing compares it.
    content["jti"] = base64.b32encode(hashlib.sha256(_json(content)).digest()).decode().rstrip("=")
    signed = f"{_base64(_json(_HEADER))}.{_base64(_json(content))}"
    return f"{signed}.{_base64(issuer.sign(signed.encode('ascii')))}"


def decode(token: str, issuer: str, kind: str) -> Claims:
    """Verify a token of this issuer (a public nkey), and parse it. Its end is not checked.

    Raises:
        BadToken: it is malformed, of another issuer or kind, or wrongly signed.
    """
    header, _, rest = token.partition(".")
    body, _, signature = rest.partition(".")
    try:
        content, typed = json.loads(_unbase64(body)), json.loads(_unbase64(header))
        if typed != _HEADER or content["iss"] != issuer or content["nats"]["type"] != kind:
            raise BadToken(f"not a token for a {kind} by {issuer}")
        raw = nkeys.public_bytes(issuer, issuer[:1])
        VerifyKey(raw).verify(f"{header}.{body}".encode("ascii"), _unbase64(signature))
        return Claims(
            str(content["sub"]),
            str(content.get("name", "")),
            Times(int(content["iat"]), int(content["exp"]) if "exp" in content else None),
            dict(content["nats"]),
        )
    except (BadSignatureError, KeyError, TypeError, ValueError, RecursionError):
        raise BadToken("not a token, or its signature is wrong") from None


def name_of(token: str) -> str:
    """The name in our own token, whose signature is not verified. Raises ValueError."""
    try:
        return str(json.loads(_unbase64(token.split(".")[1]))["name"])
    except (BadToken, IndexError, KeyError, TypeError, RecursionError):
        raise ValueError("not a token with a name") from None


def creds(token: str, user: KeyPair) -> str:
    """The text of a .creds file, which every NATS client reads: the user's token and seed."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
        "Whoever has this seed can connect as this user.\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.dump()}\n------END USER NKEY SEED------\n"
    )


def read_creds(text: str) -> tuple[str, KeyPair]:
    """The token and the key of a .creds file. Raises ValueError."""
    lines = iter(text.splitlines())
    found = [next(lines, "").strip() for line in lines if line.startswith("-----BEGIN ")]
    if len(found) != 2:
        raise ValueError("not a .creds file: it has a token and a seed")
    return found[0], KeyPair.parse(found[1], nkeys.USER)


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")


def _unbase64(text: str) -> bytes:
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise BadToken("a token has three parts of base64") from None
    if _base64(raw) != text:
        raise BadToken("a token has three parts of base64")
    return raw
