"""HTTP/1.1 on bytes: strict, bounded, and without I/O. h11 parses; this decides what it may see.

h11 is lenient where two parsers could read one message in two ways (bare LF, folded headers, two
lengths), and bounds only what is incomplete. Here the head is looked at before h11 gets it.
Source: RFC 9112; what is refused is what request smuggling is made of (its section 11.2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Optional, Union

import h11

from agent.config.limits import LIMITS
from agent.sources.api.errors import BadRequest, HeadersTooLarge, LengthRequired, PayloadTooLarge
from agent.sources.api.message import Response

_END = b"\r\n\r\n"
# A line feed without its carriage return, a carriage return before anything else, or NUL.
_BARE = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|\0")
# A header's name that ends with white space, whether or not a colon follows.
_SPACE_BEFORE_COLON = re.compile(rb"\r\n[^:\r]*[ \t](?=[:\r])")
_CONTENT_LENGTH = b"\r\ncontent-length:"
_LENGTH = re.compile(rb"[0-9]{1,10}")


@dataclass(frozen=True)
class Head:
    """A request line and its headers, names in lower case, values trimmed."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Message:
    """A whole request."""

    head: Head
    body: bytes


class Wire:
    """One connection's bytes, in both directions.

    Feed it what arrives, ask for the next message, send the answer, and go on to the next: what a
    pipelining client sent early waits until then.
    """

    def __init__(self) -> None:
        self._inbox = bytearray()
        self._connection = h11.Connection(h11.SERVER)
        self._head: Optional[Head] = None
        self._body = bytearray()
        self._complete = False

    @property
    def begun(self) -> bool:
        """Whether a request has arrived in part."""
        return self._head is not None or bool(self._inbox)

    @property
    def owes_answer(self) -> bool:
        """Whether a request has arrived, whole or in part, and its answer has not been sent."""
        return self.begun and self._connection.our_state in (h11.IDLE, h11.SEND_RESPONSE)

    @property
    def ready(self) -> bool:
        """Whether `next_message` may get further, or has something to refuse."""
        too_long = len(self._inbox) > LIMITS.head_bytes
        return self._head is not None or self._complete or too_long

    @property
    def full(self) -> bool:
        """Whether more must not be read before the next message was taken."""
        return len(self._inbox) > LIMITS.head_bytes + LIMITS.body_bytes

    @property
    def wants_continue(self) -> bool:
        """Whether the client waits for 100 Continue before it sends the body."""
        return self._head is not None and self._connection.they_are_waiting_for_100_continue

    @property
    def keeps_alive(self) -> bool:
        """Whether the connection can be used again, once the answer has been sent."""
        return self._connection.our_state is h11.DONE and self._connection.their_state is h11.DONE

    def feed(self, data: bytes) -> None:
        """Bytes have arrived."""
        seen = max(0, len(self._inbox) - len(_END) + 1)
        self._inbox += data
        self._look(seen)

    def next_message(self) -> Optional[Message]:
        """The request, once it is complete; None while it is not.

        Raises:
            ApiError: it is not HTTP, ambiguous, or too large. The connection ends after the answer.
        """
        try:
            if self._head is None:
                self._read_head()
            if self._head is not None and self._read_body():
                return Message(self._head, bytes(self._body))
        except h11.RemoteProtocolError as error:
            raise BadRequest(f"The request is not well-formed HTTP: {error}.") from None
        return None

    def go_on(self) -> None:
        """The answer has been sent: the next request may begin."""
        self._inbox[:0] = self._connection.trailing_data[0]
        self._connection = h11.Connection(h11.SERVER)
        self._head, self._body = None, bytearray()
        self._look(0)

    def send_continue(self) -> bytes:
        """100 Continue (RFC 9110 section 10.1.1)."""
        return self._send(h11.InformationalResponse(status_code=100, headers=[]))

    def send(self, response: Response, close: bool = False) -> bytes:
        """The response, whole. `close`: it is the last on this connection."""
        content = response.content
        headers = [
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(content))),
            *response.headers,
        ]
        if close:
            headers.append(("Connection", "close"))
        parts = [self._send(_start(response.status, headers))]
        # A HEAD request's answer has the headers only.
        if self._head is None or self._head.method != b"HEAD":
            parts.append(self._send(h11.Data(data=content)))
        parts.append(self._send(h11.EndOfMessage()))
        return b"".join(parts)

    def _send(
        self, event: Union[h11.InformationalResponse, h11.Response, h11.Data, h11.EndOfMessage]
    ) -> bytes:
        return self._connection.send(event) or b""

    def _look(self, start: int) -> None:
        """Note whether a head is complete, or cannot become one, from `start` of the inbox on."""
        found = self._inbox.find(_END, start) >= 0 or _BARE.search(self._inbox, start) is not None
        self._complete = found or (self._complete and start > 0)

    def _read_head(self) -> None:
        """Take the head, if all of it has arrived."""
        end = self._inbox.find(_END)
        size = end + len(_END) if end >= 0 else len(self._inbox)
        if size > LIMITS.head_bytes:
            raise HeadersTooLarge(f"The request line and headers exceed {LIMITS.head_bytes} bytes.")
        if end < 0:
            if _BARE.search(self._inbox):
                raise BadRequest("The request has a bare line feed or carriage return, or a NUL.")
            return
        raw = bytes(self._inbox[:size])
        del self._inbox[:size]
        _check_head(raw)
        self._connection.receive_data(raw)
        event = self._connection.next_event()
        assert isinstance(event, h11.Request)  # noqa: S101 - what h11 makes of a whole head
        # Noted before it is checked: a HEAD request is refused without a body too.
        self._head = Head(event.method, event.target, tuple((n, v) for n, v in event.headers))
        _check_framing(self._head)

    def _read_body(self) -> bool:
        """Take what has arrived of the body; whether it is complete."""
        if self._inbox:  # no bytes would mean the end of the stream to h11
            self._connection.receive_data(bytes(self._inbox))
            self._inbox.clear()
        event = self._connection.next_event()
        while isinstance(event, h11.Data):
            self._body += event.data
            event = self._connection.next_event()
        return isinstance(event, h11.EndOfMessage)


def _start(status: int, headers: list[tuple[str, str]]) -> h11.Response:
    return h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase)


def _check_head(raw: bytes) -> None:
    """Refuse what h11 would let pass. `raw` ends with the empty line."""
    line_ends = raw.count(b"\r\n")
    # Counted, which takes a tenth of what the pattern does.
    if not raw.count(b"\r") == raw.count(b"\n") == line_ends or b"\0" in raw:
        raise BadRequest("The request has a bare line feed or carriage return, or a NUL.")
    if line_ends - 2 > LIMITS.header_count:
        raise HeadersTooLarge(f"The request has more than {LIMITS.header_count} headers.")
    if b"\r\n " in raw or b"\r\n\t" in raw:
        raise BadRequest("The request has a folded header.")
    if _SPACE_BEFORE_COLON.search(raw):
        raise BadRequest("The request has white space before a colon.")
    # h11 would make one of two that are alike, or of a list.
    _, *lengths = raw.lower().split(_CONTENT_LENGTH)
    if len(lengths) > 1:
        raise BadRequest("The request says twice how long its body is.")
    if lengths and not _LENGTH.fullmatch(lengths[0].partition(b"\r")[0].strip(b" \t")):
        raise BadRequest("Content-Length must be one number.")


def _check_framing(head: Head) -> None:
    """One way to tell where the body ends, and one host.

    Transfer-Encoding is refused (RFC 9112 section 6.1 allows it): every AWS client sends a length,
    tiny chunks cost a thousand times what they weigh, and parsers disagree about them.
    """
    # Its body means nothing, and what follows a success is no HTTP (RFC 9110 section 9.3.6).
    if head.method == b"CONNECT":
        raise BadRequest("CONNECT is for proxies.")
    lengths = [value for name, value in head.headers if name == b"content-length"]
    encoded = any(name == b"transfer-encoding" for name, _ in head.headers)
    if lengths and encoded:
        raise BadRequest("The request says in two ways how long its body is.")
    if encoded:
        raise LengthRequired
    if lengths and int(lengths[0]) > LIMITS.body_bytes:
        raise PayloadTooLarge(f"The request body exceeds {LIMITS.body_bytes} bytes.")
    if not any(name == b"host" and value for name, value in head.headers):
        raise BadRequest("The request has no Host header.")
