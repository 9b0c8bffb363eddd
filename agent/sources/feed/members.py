"""Checks the members of a message on the source socket: their names and types."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Callable

MAX_BYTES = 64 * 1024
"""The longest line, its line feed included."""
# Characters of a text that the daemon keeps with a lease, as many as the audit records.
MOST_CHARACTERS = 1024
MOST_ADDRESSES = 16
_HEXADECIMAL = re.compile(r"[0-9a-f]{64}", re.ASCII)
Check = Callable[[Any], bool]


class Violation(ValueError):
    """Not a valid message; says why. The daemon or the source closes the connection."""


def parse(line: bytes) -> dict[str, Any]:
    """Parse a line of JSON to an object without duplicate members. Raises Violation."""
    if len(line) > MAX_BYTES or not line.endswith(b"\n"):
        raise Violation("not a line, or too long a one")
    try:
        document = json.loads(line, object_pairs_hook=_unique, parse_constant=_no_constant)
    except Violation:
        raise
    except (ValueError, RecursionError):
        raise Violation("not JSON") from None
    if not isinstance(document, dict):
        raise Violation("not a JSON object")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise Violation("a member twice")
    return document


def _no_constant(name: str) -> None:
    raise Violation(f"{name} is no number")


def check(document: Any, required: Mapping[str, Check], optional: Mapping[str, Check] = {}) -> None:
    """Raise Violation unless the members are these, each of its type, and no others."""
    known = {**required, **optional}
    if not isinstance(document, dict) or not required.keys() <= document.keys() <= known.keys():
        raise Violation("a member is missing, or unknown")
    for name, value in document.items():
        if not known[name](value):
            raise Violation(f"{name} has the wrong type or size")


def text(value: Any) -> bool:
    """A printable text, neither empty nor longer than a line."""
    return isinstance(value, str) and 0 < len(value) < MAX_BYTES and value.isprintable()


def text_or_null(value: Any) -> bool:
    """Such a text, or null."""
    return value is None or text(value)


def text_or_empty(value: Any) -> bool:
    """Such a text, or the empty one."""
    return value == "" or text(value)


def name(value: Any) -> bool:
    """A short printable text in ASCII, which the daemon keeps: long ones would fill its memory."""
    return text(value) and value.isascii() and len(value) <= MOST_CHARACTERS


def items(value: Any) -> bool:
    """A list of anything."""
    return isinstance(value, list)


def number(value: Any) -> bool:
    """The number that identifies a message."""
    return type(value) is int and 0 < value < 1 << 53


def moment(value: Any) -> bool:
    """Seconds since the Unix epoch."""
    return type(value) in {int, float} and 0 <= value < 1 << 53


def left(value: Any) -> bool:
    """The rest of a key's lifetime, in seconds."""
    return type(value) in {int, float} and 0 < value <= 60


def digest(value: Any) -> bool:
    """A SHA-256 in hexadecimal."""
    return isinstance(value, str) and _HEXADECIMAL.fullmatch(value) is not None


def addresses(value: Any) -> bool:
    """A bounded list of texts."""
    return isinstance(value, list) and len(value) <= MOST_ADDRESSES and all(map(text, value))
