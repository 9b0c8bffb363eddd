"""Signature Version 4: the canonical request, the string to sign, and the check of a signature.

Computed from the raw request target and the raw header values. No I/O and no clock: the time is an
argument.
Source: AWS General Reference, Signature Version 4 signing process; API Reference, Common
Parameters.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from typing import Optional
from urllib.parse import quote_from_bytes

from agent.sources.api.errors import AuthException, IncompleteSignature, RequestExpired
from agent.sources.api.message import Request
from agent.sources.api.query import split

ALGORITHM = "AWS4-HMAC-SHA256"
SERVICE = "ec2-instance-connect"
TERMINATOR = "aws4_request"
_DATE = re.compile(r"\d{8}T\d{6}Z", re.ASCII)


@dataclass(frozen=True)
class Scope:
    """The credential scope: day (YYYYMMDD), region, service and terminator."""

    day: str
    region: str
    service: str
    terminator: str

    def __str__(self) -> str:
        return f"{self.day}/{self.region}/{self.service}/{self.terminator}"


@dataclass(frozen=True)
class Authentication:
    """The claimed sender and its signature: parsed, not yet verified.

    `date` is X-Amz-Date's text (YYYYMMDDTHHMMSSZ); `expires` the seconds that a presigned request
    is good for, None with an Authorization header; `signed_headers` are lower-case names.
    """

    access_key_id: str
    scope: Scope
    signed_headers: tuple[str, ...]
    signature: str
    date: str
    token: Optional[str] = None
    expires: Optional[int] = None

    @property
    def signed_at(self) -> float:
        """The date in seconds since the Unix epoch. Raises IncompleteSignature if it is none."""
        return parse_date(self.date)

    def check_scope(self, region: str) -> None:
        """Raise IncompleteSignature unless the scope has the date's day, our region and service."""
        scope, day = self.scope, self.date[:8]
        if scope == Scope(day, region, SERVICE, TERMINATOR):
            return
        wrong = [
            f"{what} {found[:32]!r} must be {words}"
            for what, found, right, words in (
                # The message omits the region: an unverified sender must learn nothing of this
                # host.
                ("region", scope.region, region, "this host's"),
                ("day", scope.day, day, "that of X-Amz-Date"),
                ("service", scope.service, SERVICE, SERVICE),
                ("terminator", scope.terminator, TERMINATOR, TERMINATOR),
            )
            if found != right
        ]
        raise IncompleteSignature(f"In the credential scope, {', '.join(wrong)}.")

    def check_date(self, now: float, skew: float) -> None:
        """Raise RequestExpired if too old, too new, or past X-Amz-Expires. All in seconds."""
        age = now - self.signed_at
        if abs(age) > skew:
            side = "behind" if age > 0 else "ahead of"
            raise RequestExpired(
                f"The request's date {self.date} is {abs(age):.0f} s {side} this host's clock; "
                f"{skew:.0f} s is the most. Check both clocks."
            )
        if self.expires is not None and age > self.expires:
            raise RequestExpired(
                f"The request was presigned for {self.expires} s, {age:.0f} s ago."
            )


# Cached: it is asked for three times for a request, and many requests have the same second.
@lru_cache(maxsize=128)
def parse_date(date: str) -> float:
    """ISO 8601 basic format, YYYYMMDDTHHMMSSZ, as seconds since the Unix epoch.

    Raises:
        IncompleteSignature: it is something else.
    """
    try:
        if not _DATE.fullmatch(date):
            raise ValueError
        parts = (date[:4], date[4:6], date[6:8], date[9:11], date[11:13], date[13:15])
        year, month, day, hour, minute, second = map(int, parts)
        moment = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
        return moment.timestamp()
    except ValueError:
        raise IncompleteSignature(
            f"X-Amz-Date must be a time such as 20120325T120000Z, not {date[:32]!r}."
        ) from None


def check_signature(request: Request, authentication: Authentication, secret: str) -> None:
    """Raise AuthException unless the signature is that of this request with `secret`."""
    right = hmac.digest(
        signing_key(secret, authentication.scope),
        string_to_sign(request, authentication),
        "sha256",
    ).hex()
    if not hmac.compare_digest(right, authentication.signature):
        raise AuthException(
            "The signature does not match. Check the secret access key and the signing method."
        )


# Cached: all requests of a day share it. Only known credentials get this far.
@lru_cache(maxsize=128)
def signing_key(secret: str, scope: Scope) -> bytes:
    """The derived key for one day, region and service."""
    key = ("AWS4" + secret).encode()
    for part in (scope.day, scope.region, scope.service, scope.terminator):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def string_to_sign(request: Request, authentication: Authentication) -> bytes:
    """Algorithm, date, scope, and the hash of the canonical request."""
    digest = hashlib.sha256(canonical_request(request, authentication.signed_headers)).hexdigest()
    lines = (ALGORITHM, authentication.date, str(authentication.scope), digest)
    return "\n".join(lines).encode()


def canonical_request(request: Request, signed_headers: tuple[str, ...]) -> bytes:
    """Method, path, query, the signed headers, their names, and the body's hash."""
    path, query = split(request.target)
    names = [name.encode() for name in signed_headers]
    lines = [request.method, canonical_path(path), canonical_query(query)]
    lines += [name + b":" + canonical_header(request.values(name)) for name in names]
    lines += [b"", b";".join(names), hashlib.sha256(request.body).hexdigest().encode()]
    return b"\n".join(lines)


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
