"""The lines of the source socket: each is read back as written, and nothing else is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.feed.members import MAX_BYTES, Violation
from agent.sources.feed.messages import (
    NO_ANSWER,
    Answer,
    Ask,
    Deliver,
    Health,
    Hello,
    Offered,
    Refusal,
    Reply,
    encode,
    from_daemon,
    from_source,
)

OFFERED = Offered(
    "alice", "i-0f1e2d3c4b5a69788", "ssh-ed25519 AAAA", 59.5, "0a" * 32, 1_800_000_000.0,
    "arn:aws:iam::123456789012:user/a", "0d8f4a1e",
)  # fmt: skip
BARE = Offered("alice", "i-00000000", "ssh-ed25519 AAAA", 60, "0a" * 32, 0)
REFUSALS = [Refusal("no good"), Refusal("no good", "0d8f4a1e", "arn:x", "SHA256:x")]
SAID = [
    Hello("ec2"), Hello("fleet"), Health(True), Health(False, "it is away"), Answer(1, [], []),
    Answer(2, [OFFERED, BARE], REFUSALS), Answer(3, [], [], "no answer"), Deliver(4, b"\0\xff"),
]  # fmt: skip


@pytest.mark.parametrize("message", SAID, ids=repr)
def test_messages_of_a_source_are_read_back(message: Any) -> None:
    """Every message of a source is read back, with and without its optional members."""
    line = encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert from_source(line) == message


@pytest.mark.parametrize(
    "message",
    [Ask(1, "alice", None), Ask(2, "a", "MD5:x"), Reply(3, b"x"), Reply(4, NO_ANSWER)],
)
def test_messages_of_the_daemon_are_read_back(message: Any) -> None:
    """Every message of the daemon is read back."""
    assert from_daemon(encode(message)) == message


def with_members(**changes: Any) -> bytes:
    """The line of a valid offer with these changes; a member that is `...` is left out."""
    document = json.loads(encode(Answer(1, [OFFERED], [])))
    offer = {**document["offers"][0], **changes}
    document["offers"] = [{name: value for name, value in offer.items() if value is not ...}]
    return json.dumps(document).encode() + b"\n"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"left": 0}, "left"), ({"left": 60.1}, "left"), ({"left": -1}, "left"),
        ({"left": True}, "left"), ({"left": "1"}, "left"), ({"left": None}, "left"),
        ({"left": ...}, "missing"), ({"digest": "0A" * 32}, "digest"), ({"digest": ""}, "digest"),
        ({"digest": "0a" * 33}, "digest"), ({"dated": -1}, "dated"), ({"dated": 1e300}, "dated"),
        ({"dated": True}, "dated"), ({"key": ""}, "key"), ({"key": "a\nb"}, "key"),
        ({"key": ["a"]}, "key"), ({"os_user": None}, "os_user"), ({"os_user": "a\0"}, "os_user"),
        ({"instance": 7}, "instance"), ({"caller": None}, "caller"),
        ({"caller": "a" * 1025}, "caller"), ({"request_id": "a" * 1025}, "request_id"),
        ({"caller": "\xe9"}, "caller"), ({"instance": "a" * 1025}, "instance"),
        ({"request_id": ""}, "request_id"), ({"zone": "x"}, "unknown"), ({"": ""}, "unknown"),
    ],
)  # fmt: skip
def test_an_offer_of_any_other_form_is_refused(changes: dict[str, Any], reason: str) -> None:
    """An offer with a missing, unknown, mistyped or out-of-range member is refused."""
    assert from_source(with_members()) == Answer(1, [OFFERED], [])
    with pytest.raises(Violation, match=reason):
        from_source(with_members(**changes))


@pytest.mark.parametrize(
    "line",
    [
        b"", b"\n", b"{}\n", b"[]\n", b"null\n", b"7\n", b'"hello"\n', b"{\n", b"\xff\n",
        b'{"hello":"ec2","version":1}', b'{"hello":"ec2","version":1}\r\n\n x',
        b'{"hello":"ec2"}\n', b'{"hello":"ec2","version":2}\n', b'{"hello":"ec2","version":"1"}\n',
        b'{"hello":"ec2","version":1.0}\n', b'{"hello":"ec2","version":true}\n',
        b'{"hello":"root","version":1}\n', b'{"hello":["ec2"],"version":1}\n',
        b'{"hello":"ec2","version":1,"more":1}\n', b'{"hello":"ec2","hello":"ec2","version":1}\n',
        b'{"hello":"fleet","version":1,"hello":"ec2"}\n',
        b'{"health":"fine"}\n', b'{"health":"well","reason":"x"}\n', b'{"health":"away"}\n',
        b'{"health":"away","reason":""}\n', b'{"health":"sick","reason":"x"}\n',
        b'{"answer":1}\n', b'{"answer":1,"offers":[]}\n',
        b'{"answer":0,"offers":[],"refusals":[]}\n',
        b'{"answer":1,"offers":{},"refusals":[]}\n', b'{"answer":1,"offers":[1],"refusals":[]}\n',
        b'{"answer":1,"offers":[],"refusals":["x"]}\n',
        b'{"answer":-1,"offers":[],"refusals":[]}\n',
        b'{"answer":1e3,"offers":[],"refusals":[]}\n',
        b'{"answer":NaN,"offers":[],"refusals":[]}\n',
        b'{"answer":9007199254740992,"offers":[],"refusals":[]}\n',
        b'{"answer":1,"offers":[],"refusals":[{"reason":"x","reason":"y"}]}\n',
        b'{"answer":1,"offers":[],"refusals":[{"caller":"x"}]}\n',
        b'{"answer":1,"offers":[],"refusals":[{"reason":"x","caller":"%b"}]}\n' % (b"x" * 1025),
        b'{"answer":1,"offers":[],"refusals":[],"failed":null}\n',
        b'{"answer":1,"offers":[],"refusals":[],"failed":""}\n',
        b'{"deliver":1,"message":"!"}\n', b'{"deliver":1,"message":"QQ"}\n', b'{"deliver":1}\n',
        b'{"ask":1,"os_user":"alice","fingerprint":null}\n',
    ],
)  # fmt: skip
def test_invalid_messages_of_a_source_are_refused(line: bytes) -> None:
    """A line that is no message of a source is refused."""
    with pytest.raises(Violation):
        from_source(line)


@pytest.mark.parametrize(
    "line",
    [
        b'{"ask":1,"os_user":"alice"}\n', b'{"ask":1,"os_user":"","fingerprint":null}\n',
        b'{"ask":1,"os_user":null,"fingerprint":null}\n', b'{"hello":"ec2","version":1}\n',
        b'{"ask":1,"os_user":"a","fingerprint":null,"more":1}\n', b'{"reply":1}\n', b"{}\n",
        b'{"ask":1,"os_user":"a","fingerprint":7}\n',
    ],
)  # fmt: skip
def test_invalid_messages_of_the_daemon_are_refused(line: bytes) -> None:
    """A source refuses a line that is no message of the daemon."""
    with pytest.raises(Violation):
        from_daemon(line)


def test_a_line_above_the_limit_is_refused() -> None:
    """A line above the maximal length is neither written nor read."""
    with pytest.raises(Violation, match="the most"):
        encode(Deliver(1, b"x" * MAX_BYTES))
    line = encode(Health(False, "x" * 60_000))
    assert from_source(line) == Health(False, "x" * 60_000)
    with pytest.raises(Violation, match="too long"):
        from_source(b" " * MAX_BYTES + b"{}\n")
    with pytest.raises(Violation):
        from_source(b"[" * 60_000 + b"\n")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_violation(line: bytes) -> None:
    """Any bytes are read as a message or raise Violation."""
    for parse in (from_source, from_daemon):
        try:
            parse(line + b"\n")
        except Violation:
            continue


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(["hello", "version", "answer", "offers", "refusals", "health", "ask"]), JSON
    )
)
def test_any_json_is_a_message_or_a_violation(document: dict[str, Any]) -> None:
    """Any JSON values under the right names are read as a message or raise Violation."""
    try:
        said = from_source(json.dumps(document).encode() + b"\n")
    except Violation:
        return
    assert from_source(encode(said)) == said
