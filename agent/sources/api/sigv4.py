"""Signature Version 4: the canonical request, the string to sign, and the check of a signature.

Computed from the raw request target and the raw header values. No I/O and no clock: the time is an
argument.
Source: AWS General Reference, Signature Version 4 signing process; API Reference, Common
Parameters.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache
from urllib.parse import quote_from_bytes

from agent.sources.api.claim import ALGORITHM, Claim, Scope
from agent.sources.api.errors import AuthException
from agent.sources.api.message import Request


def check_signature(request: Request, claim: Claim, secret: str) -> None:
    """Raise AuthException unless the signature is that of this request with `secret`."""
    right = hmac.digest(
        signing_key(secret, claim.scope),
        string_to_sign(request, claim),
        "sha256",
    ).hex()
    if not hmac.compare_digest(right, claim.signature):
        raise AuthException(
            "The signature does not match. Check the secret access key and the signing method."
        )


# Cached: all requests of a day share it. Only known credentials get this far.
@lru_cache(maxsize=128)
def signing_key(secret: str, scope: Scope) -> bytes:
    """The derived key for one day, region and service."""
    key = ("AWS4" + secret).encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def string_to_sign(request: Request, claim: Claim) -> bytes:
    """Algorithm, date, scope, and the hash of the canonical request."""
    digest = hashlib.sha256(canonical_request(request, claim.signed_headers)).hexdigest()
    lines = (ALGORITHM, claim.date, "/".join(claim.scope), digest)
    return "\n".join(lines).encode()


def canonical_request(request: Request, signed_headers: tuple[str, ...]) -> bytes:
    """Method, path, query, the signed headers, their names, and the body's hash."""
    names = [name.encode() for name in signed_headers]
    lines = [request.method, canonical_path(request.path), canonical_query(request.query)]
    lines += [name + b":" + canonical_header(request.values(name)) for name in names]
    lines += [b"", b";".join(names), hashlib.sha256(request.body).hexdigest().encode()]
    return b"\n".join(lines)


# Cached: it is nearly always the same. Only a known access key gets this far.
@lru_cache(maxsize=32)
def canonical_path(path: bytes) -> bytes:
    """Dot segments and doubled slashes removed, then encoded once more: all services but S3."""
    kept: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment)
    end = b"/" if kept and path.endswith(b"/") else b""
    return quote_from_bytes(b"/" + b"/".join(kept) + end, safe="/~-_.").encode()


def canonical_query(query: bytes) -> bytes:
    """Parameters as they were sent, sorted by name, then value; X-Amz-Signature left out."""
    pairs = [pair.partition(b"=") for pair in query.split(b"&")] if query else []
    kept = sorted((name, value) for name, _, value in pairs if name != b"X-Amz-Signature")
    return b"&".join(name + b"=" + value for name, value in kept)


def canonical_header(values: list[bytes]) -> bytes:
    """White space trimmed and folded into single spaces, repeats joined by a comma."""
    return b",".join(b" ".join(value.split()) for value in values)
