"""HTTP/1.1 on bytes: strict, bounded, and without I/O. h11 checks the parts of a head.

h11's own parser accepts heads that two parsers could read in two ways (bare LF, folded headers, two
lengths), limits only incomplete ones, and spends half of its time on states that one request has
not. So heads are split into their parts here, at CRLF and colons only, and h11 checks each part.
A body is the bytes that Content-Length says, and an answer is a few lines of our own.
Source: RFC 9112; section 11.2 for request smuggling.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Optional

import h11

from agent.config.limits import LIMITS
from agent.sources.api.errors import BadRequest, HeadersTooLarge, LengthRequired, PayloadTooLarge
from agent.sources.api.message import Response

_END = b"\r\n\r\n"
_VERSION = re.compile(rb"HTTP/([0-9]\.[0-9])")
_LENGTH = re.compile(rb"[0-9]{1,10}")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True)
class Head:
    """A request line and its headers, names in lower case, values trimmed."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Message:
    """A complete request."""

    head: Head
    body: bytes


class Wire:
    """One connection's bytes, in both directions.

    Feed it what arrives, at most `room` bytes at a time; take the next message; send its answer; go
    on to the next. Bytes of a pipelining client's next request wait here, at most one head of them,
    in addition to the body that is being received. `ended` is True once no more can arrive.
    """

    def __init__(self) -> None:
        self.ended = False
        self._inbox = bytearray()
        # How far the inbox has been searched for a head; the head's end; whether it is invalid.
        self._searched = 0
        self._head_end: Optional[int] = None
        self._flawed = False
        # Whether the answer has headers only, also a refusal of a head that cannot be parsed.
        self._headers_only = False
        self._head: Optional[Head] = None
        self._body = bytearray()
        self._body_left = 0
        self._expects_continue = False
        # Of the current request: returned whole, answered; whether another one may follow.
        self._taken, self._answered, self._persistent = False, False, True

    @property
    def begun(self) -> bool:
        """Whether a request has arrived in part."""
        return self._head is not None or bool(self._inbox)

    @property
    def owes_answer(self) -> bool:
        """Whether a request has arrived, whole or in part, and its answer has not been sent."""
        return self.begun and not self._answered

    @property
    def ready(self) -> bool:
        """Whether `next_message` can make progress, or refuse something."""
        return self._head is not None or not self._incomplete

    @property
    def room(self) -> int:
        """How many bytes may be fed; at 0, reading must pause until `next_message` has been called.

        It is never 0 after `next_message` has returned None.
        """
        return self._room

    @property
    def wants_continue(self) -> bool:
        """Whether the client waits for 100 Continue before it sends the body."""
        return self._expects_continue

    @property
    def keeps_alive(self) -> bool:
        """Whether the connection can be used for another request after the answer."""
        return self._taken and self._answered and self._persistent

    def feed(self, data: bytes) -> None:
        """Add bytes that arrived. Raises ValueError if there are more than `room`."""
        if len(data) > self._room:
            raise ValueError(f"{len(data)} bytes, and room for {self._room}")
        self._inbox += data
        self._find_head()

    def next_message(self) -> Optional[Message]:
        """The next request; None while it is incomplete.

        Raises:
            ApiError: not HTTP, ambiguous, or too large. The connection ends after the answer.
        """
        if self._head is None:
            self._read_head()
        if self._head is None or self._taken or not self._read_body():
            return None
        self._taken = True
        body, self._body = bytes(self._body), bytearray()
        return Message(self._head, body)

    def go_on(self) -> None:
        """Begin the next request; the answer has been sent."""
        self._head = None
        self._taken = self._answered = self._expects_continue = False
        self._find_head()

    def send_continue(self) -> bytes:
        """100 Continue (RFC 9110 section 10.1.1)."""
        self._expects_continue = False
        return _CONTINUE

    def send(self, response: Response, close: bool = False) -> bytes:
        """The response's bytes. `close`: it is the last on this connection.

        Raises ValueError for a header that would break the lines.
        """
        self._answered = True
        self._persistent = self._persistent and not close
        content = response.content
        lines = [
            f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
            f"Content-Type: {response.content_type}",
            f"Content-Length: {len(content)}",
            *(f"{name}: {value}" for name, value in response.headers),
        ]
        if not self._persistent:
            lines.append("Connection: close")
        if not all(line.isascii() and line.isprintable() for line in lines):
            raise ValueError("a header of an answer has characters that no header may have")
        head = "\r\n".join(lines).encode() + _END
        return head if self._headers_only else head + content

    def end(self) -> bytes:
        """The last bytes to send."""
        return b""

    @property
    def _incomplete(self) -> bool:
        """Whether more must arrive before there is a message or a refusal."""
        if self._head is not None:
            return len(self._inbox) < self._body_left
        return self._head_end is None and not self._flawed and self._room > 0

    @property
    def _room(self) -> int:
        # The longest head, and one byte that makes it too long.
        return LIMITS.head_bytes + 1 - len(self._inbox)

    def _find_head(self) -> None:
        """Search new bytes for the head's end, and for bytes that no head may have."""
        if self._head is not None or self._head_end is not None:
            return  # New bytes belong to a body, or to a later request.
        self._headers_only = self._inbox.startswith(b"HEAD ")
        found = self._inbox.find(_END, max(0, self._searched - len(_END) + 1))
        stop = len(self._inbox) if found < 0 else found + len(_END)
        if found >= 0:
            self._head_end = stop
        elif self._inbox.endswith(b"\r"):
            stop -= 1  # Its line feed may follow.
        self._flawed |= _has_bare(self._inbox, self._searched, stop)
        self._searched = stop

    def _read_head(self) -> None:
        """Take the head, if it has arrived completely."""
        size = len(self._inbox) if self._head_end is None else self._head_end
        if size > LIMITS.head_bytes:
            raise HeadersTooLarge(f"The request line and headers exceed {LIMITS.head_bytes} bytes.")
        if self._flawed:
            raise BadRequest("The request has a bare line feed or carriage return, or a NUL.")
        if self._head_end is None:
            return
        raw = bytes(self._inbox[:size])
        del self._inbox[:size]
        self._searched, self._head_end = 0, None
        request = _parse(raw)
        self._headers_only = request.method == b"HEAD"
        self._head = head = Head(request.method, request.target, tuple(request.headers))
        modern = request.http_version >= b"1.1"
        self._persistent = modern and not _lists(head, b"connection", b"close")
        self._expects_continue = modern and _lists(head, b"expect", b"100-continue")
        self._body_left = _check_framing(head)

    def _read_body(self) -> bool:
        """Take what has arrived of the body; returns whether it is complete."""
        part = self._inbox[: self._body_left]
        del self._inbox[: len(part)]
        self._body += part
        self._body_left -= len(part)
        self._expects_continue = self._expects_continue and not part and self._body_left > 0
        return not self._body_left


def _parse(raw: bytes) -> h11.Request:
    """Parse a head that ends with the empty line. Raises BadRequest and HeadersTooLarge."""
    first, *lines = raw[: -len(_END)].split(b"\r\n")
    if len(lines) > LIMITS.header_count:
        raise HeadersTooLarge(f"The request has more than {LIMITS.header_count} headers.")
    method, target, version = _split_request_line(first)
    headers = [_split_header(line) for line in lines]
    _check_length([value for name, value in headers if name == b"content-length"])
    try:
        return h11.Request(method=method, target=target, headers=headers, http_version=version)
    except h11.ProtocolError as error:
        raise BadRequest(f"The request is not well-formed HTTP: {error}.") from None


def _split_request_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    """Method, target and version, such as b"1.1"."""
    parts = line.split(b" ")
    version = _VERSION.fullmatch(parts[-1])
    if len(parts) != 3 or version is None:
        raise BadRequest("The request line must read: METHOD TARGET HTTP/1.1")
    return parts[0], parts[1], version[1]


def _split_header(line: bytes) -> tuple[bytes, bytes]:
    """Name, in lower case, and value. h11 refuses a name with white space in or around it."""
    if line.startswith((b" ", b"\t")):
        raise BadRequest("The request has a folded header.")
    name, colon, value = line.partition(b":")
    if not colon:
        raise BadRequest("The request has a header without a colon.")
    return name.lower(), value.strip(b" \t")


def _check_length(lengths: list[bytes]) -> None:
    """Refuse what h11 would accept: repeated equal lengths, and lists of them."""
    if len(lengths) > 1:
        raise BadRequest("The request has two lengths for its body.")
    if lengths and not _LENGTH.fullmatch(lengths[0]):
        raise BadRequest("Content-Length must be one number.")


def _lists(head: Head, name: bytes, token: bytes) -> bool:
    """Whether a header that is a list of words has this one (RFC 9110 section 5.6.1)."""
    return any(
        token in (word.strip().lower() for word in value.split(b","))
        for key, value in head.headers
        if key == name
    )


def _has_bare(data: bytearray, start: int, stop: int) -> bool:
    """Whether there is a NUL, or a line feed or carriage return on its own."""
    line_ends = data.count(b"\r\n", start, stop)
    return (
        data.count(b"\n", start, stop) != line_ends
        or data.count(b"\r", start, stop) != line_ends
        or data.find(b"\0", start, stop) >= 0
    )


def _check_framing(head: Head) -> int:
    """Check that the body's length is unambiguous and there is a host; returns the length (bytes).

    Transfer-Encoding is refused (RFC 9112 section 6.1 allows it): every AWS client sends a length,
    tiny chunks cost a thousand times their size, and parsers disagree about them.
    """
    # Its body has no meaning, and after a success no HTTP follows (RFC 9110 section 9.3.6).
    if head.method == b"CONNECT":
        raise BadRequest("CONNECT is for proxies.")
    lengths = [int(value) for name, value in head.headers if name == b"content-length"]
    encoded = any(name == b"transfer-encoding" for name, _ in head.headers)
    if lengths and encoded:
        raise BadRequest("The request has both Content-Length and Transfer-Encoding.")
    if encoded:
        raise LengthRequired
    if lengths and lengths[0] > LIMITS.body_bytes:
        raise PayloadTooLarge(f"The request body exceeds {LIMITS.body_bytes} bytes.")
    if not any(name == b"host" and value for name, value in head.headers):
        raise BadRequest("The request has no Host header.")
    return lengths[0] if lengths else 0
