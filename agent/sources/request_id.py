"""The id of a request: it is in the answer, in the audit, and the comment of sshd's line."""

from __future__ import annotations

import secrets


def new_request_id() -> str:
    """A random UUID (RFC 9562 section 5.4, version 4).

    The module uuid loads platform and more: 200 KiB of every daemon, for these lines.
    """
    digits = bytearray(secrets.token_bytes(16))
    digits[6] = digits[6] & 0x0F | 0x40
    digits[8] = digits[8] & 0x3F | 0x80
    text = digits.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
