"""Parses the blocks of text in which EC2 delivers pushed keys: bytes in, blocks or refusals out.

    #Timestamp=<when the key expires, seconds since the Unix epoch>
    #Instance=i-...
    #Caller=<ARN of who pushed>
    #Request=<request id>
    <public key: type base64 [comment]>
    <signature in base64, one or more lines>
    <empty line, or the end>

The signature covers every `#` line and the key's line, in their order, each with its line feed.
AWS's own host scripts rely on the same (docs/ec2.md). The text is split into blocks before any
block is read, so a bad block never hides a good one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Optional, Union

from agent.config.limits import LIMITS
from agent.sources.metadata.refusal import Refused

_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_SPACE = re.compile(r"[ \t]+")
_SECONDS = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)
_INSTANCE = re.compile(r"i-[0-9a-f]{8,32}", re.ASCII)
_CALLER = re.compile(r"[\x21-\x7e]{1,1024}", re.ASCII)
_REQUEST = re.compile(r"[0-9a-f-]{8,64}", re.ASCII)


@dataclass(frozen=True)
class Block:
    """One well-formed block. Trust nothing in it before its signature is verified.

    Attributes:
        signed: the exact bytes that the signature covers.
        expires: when the key expires, in seconds since the Unix epoch.
        key: type and base64, without the comment.
        caller, request: None when they are absent or not of the usual form.
    """

    signed: bytes
    signature: bytes
    expires: int
    instance: str
    key: str
    caller: Optional[str] = None
    request: Optional[str] = None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the signed bytes, in hexadecimal: the same for each fetch of one block."""
        return hashlib.sha256(self.signed).hexdigest()

    @cached_property
    def fingerprint(self) -> Optional[str]:
        """`SHA256:…`, the form of sshd's %f; None when the key is not base64."""
        try:
            blob = base64.b64decode(self.key.partition(" ")[2], validate=True)
        except (binascii.Error, ValueError):
            return None
        digest = hashlib.sha256(blob).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


@dataclass(frozen=True)
class Rejected:
    """A piece of text that is not a block. `digest` is the SHA-256 of its bytes."""

    reason: str
    digest: str
    fingerprint: Optional[str] = None


def read(body: bytes, complete: bool = True) -> Iterator[Union[Block, Rejected]]:
    """The blocks of an answer, in their order.

    Args:
        body: what was received.
        complete: False when `body` was cut at the limit.
    """
    pieces = list(_pieces(body))
    if pieces and not complete:
        pieces[-1].fault = f"more than {LIMITS.metadata_bytes} bytes of keys: this one is cut off"
    for piece in pieces[: LIMITS.metadata_blocks]:
        try:
            yield _block(piece)
        except Refused as refused:
            yield _reject(str(refused), b"\n".join(piece.lines))
    if len(pieces) > LIMITS.metadata_blocks:
        reason = f"more than {LIMITS.metadata_blocks} blocks: the others are not looked at"
        yield _reject(reason, b"")


def _reject(reason: str, text: bytes) -> Rejected:
    return Rejected(reason, hashlib.sha256(text).hexdigest())


@dataclass
class _Piece:
    """Lines that belong together. `fault` says what is wrong with their end, if anything is."""

    lines: list[bytes]
    fault: Optional[str] = None


def _pieces(body: bytes) -> Iterator[_Piece]:
    """Split the text at empty lines.

    A `#` line that follows a line of another kind also begins a new piece. So a block that lacks
    its empty line does not spoil the next block.
    """
    piece: list[bytes] = []
    lines = body.split(b"\n")
    last = lines.pop()  # empty, unless the last line has no line feed
    for line in lines:
        if not line.strip(b" \t\r"):
            if piece:
                yield _Piece(piece)
            piece = []
        elif line.startswith(b"#") and piece and not piece[-1].startswith(b"#"):
            yield _Piece(piece, "the block has no empty line at its end")
            piece = [line]
        else:
            piece.append(line)
    if last:
        yield _Piece([*piece, last], "the block's last line has no line feed: it was cut off")
    elif piece:
        yield _Piece(piece)


def _block(piece: _Piece) -> Block:
    """Parse one piece. Raises Refused."""
    lines = piece.lines
    _check_text(lines)
    if piece.fault is not None:
        raise Refused(piece.fault)
    count = next((n for n, line in enumerate(lines) if not line.startswith(b"#")), len(lines))
    heads, line, signature = lines[:count], lines[count : count + 1], lines[count + 1 :]
    words = _SPACE.split(line[0].decode()) if line else []
    if not heads or len(words) < 2 or not signature:
        raise Refused("the block is not # lines, then a key, then a signature, in this order")
    key = " ".join(words[:2])
    # No other text is a key, and the daemon drops a source whose message it cannot print.
    if not (key.isascii() and key.isprintable()):
        raise Refused("the block's key is not plain ASCII")
    named = _group_by_name(heads)
    return Block(
        signed=b"".join(each + b"\n" for each in heads + line),
        signature=_signature(signature),
        expires=int(_one(named, "Timestamp", _SECONDS)),
        instance=_one(named, "Instance", _INSTANCE),
        key=key,
        caller=_optional(named, "Caller", _CALLER),
        request=_optional(named, "Request", _REQUEST),
    )


def _check_text(lines: list[bytes]) -> None:
    """Raise Refused unless the lines are plain UTF-8 text of a bounded length."""
    text = b"\n".join(lines)
    if len(text) > LIMITS.metadata_block_bytes:
        raise Refused(f"the block is longer than {LIMITS.metadata_block_bytes} bytes")
    if b"\r" in text:
        raise Refused("the block has carriage returns: its lines were changed on the way")
    if _CONTROL.search(text):
        raise Refused("the block has control characters")
    try:
        text.decode()
    except UnicodeDecodeError:
        raise Refused("the block is not UTF-8") from None


def _group_by_name(heads: list[bytes]) -> dict[str, list[str]]:
    """Values by name. Unknown names are kept: they matter to the signature only."""
    named: dict[str, list[str]] = {}
    for line in heads:
        name, _, value = line[1:].decode().partition("=")
        named.setdefault(name, []).append(value)
    return named


def _one(named: dict[str, list[str]], name: str, form: re.Pattern[str]) -> str:
    """The value of a line that must occur exactly once. Raises Refused."""
    values = named.get(name, [])
    if len(values) != 1:
        raise Refused(f"the block has {len(values) or 'no'} #{name} lines, and must have one")
    if not form.fullmatch(values[0]):
        raise Refused(f"the block's #{name} is not of the right form")
    return values[0]


def _optional(named: dict[str, list[str]], name: str, form: re.Pattern[str]) -> Optional[str]:
    """The value of an optional line. Raises Refused if it occurs twice."""
    values = named.get(name, [])
    if len(values) > 1:
        raise Refused(f"the block has {len(values)} #{name} lines, and may have one")
    return values[0] if values and form.fullmatch(values[0]) else None


def _signature(lines: list[bytes]) -> bytes:
    text = b"".join(lines)
    try:
        signature = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused("the block's signature is not base64") from None
    if base64.b64encode(signature) != text:
        raise Refused("the block's signature is not base64")
    return signature
