"""agent/sources/api/wire.py reads a head as h11's own parser does, if it accepts it at all."""

from __future__ import annotations

import h11
from hypothesis import example, given
from hypothesis import strategies as st

from agent.sources.api.errors import ApiError
from agent.sources.api.wire import Wire

METHODS = st.sampled_from([b"POST", b"GET", b"P\tST", b"", b"A B"])
TARGETS = st.sampled_from([b"/", b"/?Action=a&b=%20", b"", b"/ x", b"/\xff", b"*"])
VERSIONS = st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.10", b"http/1.1", b""])
NAMES = st.sampled_from(
    [b"Host", b"X-A", b"x-a ", b" X-A", b"X A", b"", b"Expect", b"Connection", b"Transfer-Encoding"]
) | st.binary(max_size=3)
VALUES = st.sampled_from(
    [b"a", b" a\t b ", b"", b"close", b"chunked", b"a:b", b"\xe9", b"\x0ba", b"a\r\n b", b"\x01"]
) | st.binary(max_size=3)
LINES = st.tuples(NAMES, st.sampled_from([b":", b" :", b"::", b""]), VALUES).map(b"".join)


@given(
    first=st.tuples(METHODS, TARGETS, VERSIONS).map(b" ".join),
    host=st.sampled_from([[b"Host: a"], [b"hOST:a"], []]),
    lines=st.lists(LINES, max_size=4),
)
@example(first=b"POST / HTTP/1.1", host=[b"Host: a"], lines=[b"X-A:  b\t c \t"])
def test_accepted_requests_are_read_as_h11_reads_them(
    first: bytes, host: list[bytes], lines: list[bytes]
) -> None:
    """Method, target and headers of an accepted request are those that h11's parser finds."""
    raw = b"\r\n".join([first, *host, *lines, b"", b""])
    wire = Wire()
    wire.feed(raw)
    try:
        message = wire.next_message()
    except ApiError:
        return
    if message is None:
        return
    parser = h11.Connection(h11.SERVER)
    parser.receive_data(raw)
    event = parser.next_event()
    assert isinstance(event, h11.Request)
    head = message.head
    assert (head.method, head.target) == (event.method, event.target)
    assert head.headers == tuple(event.headers)
