"""agent/sources/api/wire.py: ambiguous requests and requests that are too large are refused."""

from __future__ import annotations

import pytest

from agent.config.limits import LIMITS
from agent.sources.api.errors import BadRequest, HeadersTooLarge, LengthRequired, PayloadTooLarge
from agent.sources.api.wire import Wire
from tests.sources.api.test_wire import CHUNKED, HEAD, PLAIN, message

REFUSED = {
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": b"POST /\r\nHost: a\r\n\r\n",
    "a space in the target": b"POST / x HTTP/1.1\r\nHost: a\r\n\r\n",
    "an empty line first": b"\r\n" + PLAIN,
    "two lengths alike": HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "two lengths in one": HEAD + b"Content-Length: 2, 2\r\n\r\n{}",
    "a signed length": HEAD + b"Content-Length: +2\r\n\r\n{}",
    "a negative length": HEAD + b"Content-Length: -2\r\n\r\n{}",
    "a hexadecimal length": HEAD + b"Content-Length: 0x2\r\n\r\n{}",
    "an endless length": HEAD + b"Content-Length: 11111111111\r\n\r\n",
    "length and chunks": HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "another coding": HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
    "two codings": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a folded header": HEAD + b"X-A: b\r\n c\r\nContent-Length: 2\r\n\r\n{}",
    "a folded header by tab": HEAD + b"X-A: b\r\n\tc\r\nContent-Length: 2\r\n\r\n{}",
    "a space before the first header": b"POST / HTTP/1.1\r\n Host: a\r\n\r\n",
    "a space before the colon": HEAD + b"Content-Length : 2\r\n\r\n{}",
    "a tab before the colon": HEAD + b"X-A\t: 2\r\n\r\n",
    "bare line feeds": PLAIN.replace(b"\r\n", b"\n"),
    "one bare line feed": HEAD + b"X-A: b\nX-B: c\r\n\r\n",
    "a bare carriage return": HEAD + b"X-A: b\rX-B: c\r\n\r\n",
    "a NUL": HEAD + b"X-A: b\0c\r\n\r\n",
    "no colon": HEAD + b"nothing\r\n\r\n",
    "an empty name": HEAD + b": b\r\n\r\n",
    "no Host": b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    "no Host in HTTP/1.0": b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}",
    "an empty Host": b"POST / HTTP/1.1\r\nHost:\r\n\r\n",
    "CONNECT, which has no body": b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
    "CONNECT": b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "two Hosts": HEAD + b"Host: b\r\n\r\n",
}


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("raw", REFUSED.values(), ids=list(REFUSED))
def test_ambiguous_requests_are_refused(raw: bytes, step: int) -> None:
    """An ambiguous request is refused with BadRequest, sent at once or byte by byte."""
    with pytest.raises(BadRequest):
        message(raw, step)


def test_a_bare_line_feed_is_refused_before_the_head_ends() -> None:
    """A bare line feed is refused at once, without waiting for the head's end."""
    wire = Wire()
    wire.feed(b"POST / HTTP/1.1\nHost: a\n\n")
    assert wire.ready
    with pytest.raises(BadRequest, match="bare"):
        wire.next_message()


def test_a_head_passes_up_to_its_limit() -> None:
    """A head of 16 KiB is accepted; one more byte is refused, complete or not."""
    filler = LIMITS.head_bytes - len(HEAD) - len(b"X: \r\n\r\n")
    assert message(HEAD + b"X: " + b"a" * filler + b"\r\n\r\n") is not None
    for raw in (b"X: " + b"a" * (filler + 1) + b"\r\n\r\n", b"X: " + b"a" * (filler + 5)):
        with pytest.raises(HeadersTooLarge):
            message(HEAD + raw)


def test_a_target_without_an_end_is_refused() -> None:
    """A request line that exceeds the limit of the head is refused."""
    with pytest.raises(HeadersTooLarge):
        message(b"POST /" + b"a" * LIMITS.head_bytes)


@pytest.mark.parametrize(("more", "passes"), [(63, True), (64, False)])
def test_the_number_of_headers_is_limited(more: int, passes: bool) -> None:
    """A request with 64 headers is accepted, and one with 65 is refused."""
    raw = HEAD + b"".join(b"X-%d: a\r\n" % number for number in range(more)) + b"\r\n"
    if passes:
        assert message(raw) is not None
    else:
        with pytest.raises(HeadersTooLarge):
            message(raw)


def test_a_body_passes_up_to_its_limit() -> None:
    """A body of 16 KiB is accepted; a longer Content-Length is refused before the body arrives."""
    body = b"a" * LIMITS.body_bytes
    assert message(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body) is not None
    with pytest.raises(PayloadTooLarge):
        message(HEAD + b"Content-Length: %d\r\n\r\n" % (len(body) + 1))


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
def test_chunks_are_refused(version: bytes) -> None:
    """A chunked request is refused with LengthRequired at the end of its head."""
    with pytest.raises(LengthRequired):
        message(CHUNKED.replace(b"HTTP/1.1", version))
