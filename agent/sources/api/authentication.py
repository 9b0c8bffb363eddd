"""Reads Signature Version 4 authentication from a request: from its header or its query string.

Source: API Reference, Common Parameters; AWS General Reference, adding the signature to a request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Optional

from agent.config.limits import LIMITS
from agent.sources.api.claim import ALGORITHM, Claim, Scope
from agent.sources.api.errors import IncompleteSignature, MissingAuthenticationToken
from agent.sources.api.message import DECIDING, Request
from agent.sources.api.query import AUTHENTICATION

_HEADER_NAMES = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+(?:;[a-z0-9!#$%&'*+.^_`|~-]+)*", re.ASCII)
_SIGNATURE = re.compile(r"[0-9a-f]{64}", re.ASCII)
# SigV4: X-Amz-Expires is at most seven days. Here the limit on the date itself is shorter.
_MOST_EXPIRES = 604_800


def read(request: Request, parameters: Mapping[str, str]) -> Claim:
    """What the request claims, in one of its two forms.

    Raises:
        MissingAuthenticationToken: there is none.
        IncompleteSignature: it cannot be parsed, or signs too little.
    """
    if any(name in parameters for name in AUTHENTICATION):
        claim = _from_query(parameters)
    elif request.values(b"authorization"):
        claim = _from_header(request)
    else:
        raise MissingAuthenticationToken
    _ = claim.signed_at  # Parse the date now, so that a bad one is reported first.
    _check_signed(request, claim)
    return claim


def _from_header(request: Request) -> Claim:
    values = request.values(b"authorization")
    if len(values) > 1:
        raise IncompleteSignature("The header Authorization is given twice.")
    algorithm, _, rest = _text(values[0], "Authorization").partition(" ")
    parts: dict[str, str] = {}
    for part in rest.split(","):
        name, equals, value = part.strip().partition("=")
        if not equals or name in parts:
            raise IncompleteSignature("The header Authorization cannot be parsed.")
        parts[name] = value
    if set(parts) != {"Credential", "SignedHeaders", "Signature"}:
        raise IncompleteSignature(
            "The header Authorization must have Credential, SignedHeaders and Signature."
        )
    token = request.values(b"x-amz-security-token")
    return _claim(
        algorithm=algorithm,
        credential=parts["Credential"],
        signed_headers=parts["SignedHeaders"],
        signature=parts["Signature"],
        date=_date(request),
        token=_text(token[0], "X-Amz-Security-Token") if token else None,
    )


def _from_query(parameters: Mapping[str, str]) -> Claim:
    required = [
        name for name in AUTHENTICATION if name not in ("X-Amz-Expires", "X-Amz-Security-Token")
    ]
    missing = [name for name in required if not parameters.get(name)]
    if missing:
        raise IncompleteSignature(f"The query string lacks {', '.join(missing)}.")
    return _claim(
        algorithm=parameters["X-Amz-Algorithm"],
        credential=parameters["X-Amz-Credential"],
        signed_headers=parameters["X-Amz-SignedHeaders"],
        signature=parameters["X-Amz-Signature"],
        date=parameters["X-Amz-Date"],
        token=parameters.get("X-Amz-Security-Token"),
        expires=_expires(parameters.get("X-Amz-Expires", str(LIMITS.clock_skew_seconds))),
    )


def _claim(
    *,
    algorithm: str,
    credential: str,
    signed_headers: str,
    signature: str,
    date: str,
    token: Optional[str],
    expires: Optional[int] = None,
) -> Claim:
    if algorithm != ALGORITHM:
        raise IncompleteSignature(f"The algorithm must be {ALGORITHM}, not {algorithm[:32]!r}.")
    scope = credential.split("/")
    if len(scope) != 5 or not all(scope):
        raise IncompleteSignature(
            "The credential must read KEY/YYYYMMDD/REGION/SERVICE/aws4_request."
        )
    names = tuple(signed_headers.split(";"))
    if list(names) != sorted(set(names)) or not _HEADER_NAMES.fullmatch(signed_headers):
        raise IncompleteSignature("SignedHeaders must be sorted lower-case names, each once.")
    if not _SIGNATURE.fullmatch(signature):
        raise IncompleteSignature("The signature must be 64 lower-case hexadecimal digits.")
    return Claim(
        access_key_id=scope[0],
        scope=Scope(*scope[1:]),
        signed_headers=names,
        signature=signature,
        date=date,
        token=token,
        expires=expires,
    )


def _check_signed(request: Request, claim: Claim) -> None:
    """Check that each of DECIDING is signed, and that every signed header is present."""
    signed = claim.signed_headers
    required = ["host", *(name.decode() for name in DECIDING if request.values(name))]
    unsigned = [name for name in required if name not in signed]
    if unsigned:
        raise IncompleteSignature(f"SignedHeaders must include {', '.join(unsigned)}.")
    absent = [name for name in signed if not request.values(name.encode())]
    if absent:
        raise IncompleteSignature(
            f"SignedHeaders names {', '.join(absent)}, which the request lacks."
        )


def _date(request: Request) -> str:
    """X-Amz-Date; else Date, also in ISO 8601 basic format."""
    for name in (b"x-amz-date", b"date"):
        values = request.values(name)
        if values:
            return _text(values[0], name.decode())
    raise IncompleteSignature("The request has neither X-Amz-Date nor Date.")


def _expires(value: str) -> int:
    if not (
        value.isascii() and value.isdigit() and len(value) <= 6 and 0 < int(value) <= _MOST_EXPIRES
    ):
        raise IncompleteSignature(f"X-Amz-Expires must be 1 to {_MOST_EXPIRES} seconds.")
    return int(value)


def _text(value: bytes, what: str) -> str:
    try:
        return value.decode("ascii")
    except UnicodeDecodeError:
        raise IncompleteSignature(f"{what} must be ASCII.") from None
