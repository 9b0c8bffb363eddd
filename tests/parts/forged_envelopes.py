"""Signed envelopes of a fleet that somebody changed afterwards. It needs no bus."""

from __future__ import annotations

import base64
import json
from typing import Any


def with_body(envelope: bytes, **changes: Any) -> bytes:
    """The envelope with changed members in its body, under the original signature."""
    members = json.loads(envelope)
    members["body"] = _json({**json.loads(members["body"]), **changes})
    return _json(members).encode()


def with_signature(envelope: bytes) -> bytes:
    """The envelope with one bit of its signature changed."""
    members = json.loads(envelope)
    raw = bytearray(base64.b64decode(members["signature"]))
    raw[7] ^= 1
    return _json({**members, "signature": base64.b64encode(raw).decode()}).encode()


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
