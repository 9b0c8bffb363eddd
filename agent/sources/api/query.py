"""The query string of a request target: the parameters of the reference, each at most once.

Source: API Reference, Common Parameters. Action-specific parameters travel in the body.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from agent.sources.api.errors import InvalidQueryParameter, MalformedQueryString

# X-Amz-Expires is not in the reference's list, but every signer of query strings sends it.
AUTHENTICATION = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
)
KNOWN = frozenset({"Action", "Version", *AUTHENTICATION})
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def parse(query: bytes) -> dict[str, str]:
    """The parameters, decoded.

    Raises:
        MalformedQueryString: a broken percent-escape, or not UTF-8.
        InvalidQueryParameter: unknown, or given twice.
    """
    pairs = [pair.partition(b"=") for pair in query.split(b"&")] if query else []
    decoded = [(_decode(name), _decode(value)) for name, _, value in pairs]
    parameters: dict[str, str] = {}
    for name, value in decoded:
        if name not in KNOWN:
            raise InvalidQueryParameter(f"The query parameter {name[:64]!r} is not known.")
        if name in parameters:
            raise InvalidQueryParameter(f"The query parameter {name} is given twice.")
        parameters[name] = value
    return parameters


def _decode(raw: bytes) -> str:
    if _BAD_ESCAPE.search(raw):
        raise MalformedQueryString(
            "The query string has a % that no two hexadecimal digits follow."
        )
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise MalformedQueryString("The query string is not UTF-8.") from None
