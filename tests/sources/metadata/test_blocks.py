"""The text of key blocks: which blocks are valid, and that a bad one does not hide others."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.limits import LIMITS
from agent.config.settings import Keys
from agent.leases.keys import PublicKey
from agent.sources.metadata.blocks import Block, Rejected, read
from tests.parts.leases import ed25519_line

KEY = ed25519_line(1)
HEAD = b"#Timestamp=1800000060\n#Instance=i-0f1e2d3c4b5a69788\n"
NAMES = b"#Caller=arn:aws:iam::123456789012:user/a\n#Request=0d8f4a1e-9b5c\n"
SIGNATURE = base64.encodebytes(bytes(range(256)))
GOOD = HEAD + NAMES + KEY.encode() + b" me@here\n" + SIGNATURE + b"\n"
OTHER = GOOD.replace(b"1800000060", b"1800000061")


def blocks(body: bytes, complete: bool = True) -> list[Block]:
    """The valid blocks of a body."""
    return [each for each in read(body, complete) if isinstance(each, Block)]


def reasons(body: bytes, complete: bool = True) -> list[str]:
    """The reasons for which blocks of a body are rejected."""
    return [each.reason for each in read(body, complete) if isinstance(each, Rejected)]


def test_a_block_is_read_whole() -> None:
    """A block is read with every value, the exact signed bytes, and the key without comment."""
    (found,) = blocks(GOOD)
    assert found.signed == HEAD + NAMES + KEY.encode() + b" me@here\n"
    assert found.signature == bytes(range(256))
    assert (found.expires, found.instance) == (1800000060, "i-0f1e2d3c4b5a69788")
    assert (found.caller, found.request) == ("arn:aws:iam::123456789012:user/a", "0d8f4a1e-9b5c")
    assert found.key == KEY


def test_unknown_lines_are_signed_over_in_their_order() -> None:
    """Unknown lines are part of the signed bytes, and are otherwise ignored."""
    head = b"#Later=1\n" + HEAD + b"#bare\n"
    (found,) = blocks(head + KEY.encode() + b"\n" + SIGNATURE)
    assert found.signed == head + KEY.encode() + b"\n"
    assert (found.caller, found.request) == (None, None)


@pytest.mark.parametrize(
    "names",
    [
        b"#Caller=\n#Request=\n", b"#Caller=a b\n#Request=../../x\n", b"#Request=abc\n",
        b"#Caller=\xc3\xa4\n#Request=0D8F4A1E-9B5C\n", b"#Request=" + b"a" * 65 + b"\n",
    ],
)  # fmt: skip
def test_names_of_another_form_are_left_out(names: bytes) -> None:
    """Caller and request are only for the audit; malformed ones are left out."""
    (found,) = blocks(HEAD + names + KEY.encode() + b"\n" + SIGNATURE)
    assert (found.caller, found.request) == (None, None)
    assert names in found.signed


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n\n", b"\n \t\n"])
def test_blocks_end_with_an_empty_line_or_with_the_text(end: bytes) -> None:
    """The number of empty lines between blocks does not matter."""
    body = b"\n\n" + GOOD + b"\n" + OTHER.rstrip(b"\n") + b"\n" + end
    assert [each.expires for each in blocks(body)] == [1800000060, 1800000061]
    assert reasons(body) == []


def test_no_text_has_no_blocks() -> None:
    """An empty text, or one of empty lines, has no blocks."""
    assert list(read(b"")) == list(read(b"\n\r\n  \n")) == []


BAD = {
    "carriage returns": GOOD.replace(b"\n", b"\r\n"),
    "control characters": GOOD.replace(b"me@", b"m\x1b[2J@"),
    "not UTF-8": GOOD.replace(b"me@", b"m\xff@"),
    "in this order": KEY.encode() + b"\n" + SIGNATURE + b"\n",
    "then a signature": HEAD + KEY.encode() + b"\n\n",
    "then a key": HEAD + NAMES + b"\n",
    "no #Timestamp": GOOD.replace(b"#Timestamp=", b"#timestamp="),
    "2 #Timestamp": b"#Timestamp=1900000000\n" + GOOD,
    "#Timestamp is not of the right form": GOOD.replace(b"1800000060", b"01800000060"),
    "no #Instance": GOOD.replace(b"#Instance=", b"# Instance="),
    "2 #Instance": b"#Instance=i-00000000\n" + GOOD,
    "#Instance is not of the right form": GOOD.replace(b"i-0f1e", b"i-0F1E"),
    "2 #Caller": b"#Caller=arn:x\n" + GOOD,
    "2 #Request": b"#Request=00000000\n" + GOOD,
    "signature is not base64": GOOD.replace(b"AAEC", b"AA C"),
    "longer than": GOOD.replace(b"me@", b"m" * LIMITS.metadata_block_bytes + b"@"),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_block_is_refused_and_the_others_stand(reason: str) -> None:
    """A bad block between valid ones is rejected alone, with a reason that names the fault."""
    body = GOOD + BAD[reason] + OTHER
    assert [each.expires for each in blocks(body)] == [1800000060, 1800000061]
    assert len(reasons(body)) == 1
    assert reason in reasons(body)[0]


@pytest.mark.parametrize("end", ["0", "-1", "1e9", "1800000060 ", "+1800000060", "", "9" * 13])
def test_a_timestamp_is_a_plain_number(end: str) -> None:
    """A timestamp that is zero or not in plain decimal digits is rejected."""
    body = GOOD.replace(b"1800000060", end.encode())
    assert "#Timestamp is not of the right form" in reasons(body)[0]


def test_a_block_that_was_cut_off_is_refused_alone() -> None:
    """A block whose last line has no line feed is rejected, since it may be cut off."""
    body = GOOD + OTHER.rstrip(b"\n")
    assert [each.expires for each in blocks(body)] == [1800000060]
    assert reasons(body) == ["the block's last line has no line feed: it was cut off"]


def test_a_block_without_its_empty_line_does_not_take_the_next_along() -> None:
    """A block without an empty line at its end is rejected, and the next one is read."""
    body = GOOD.rstrip(b"\n") + b"\n" + OTHER
    assert [each.expires for each in blocks(body)] == [1800000061]
    assert reasons(body) == ["the block has no empty line at its end"]


def test_lines_in_another_order_are_other_bytes() -> None:
    """Header lines in another order give other signed bytes and another digest."""
    first, second = HEAD.splitlines(keepends=True)
    (found,) = blocks(GOOD.replace(HEAD, second + first))
    assert found.signed.startswith(b"#Instance=")
    assert found.digest != blocks(GOOD)[0].digest


def test_header_lines_after_the_key_are_refused() -> None:
    """Header lines after the key are rejected."""
    body = HEAD + KEY.encode() + b"\n" + NAMES + SIGNATURE + b"\n" + GOOD
    assert len(blocks(body)) == 1
    assert len(reasons(body)) == 2


def test_of_too_long_an_answer_the_part_that_was_read_counts() -> None:
    """Of a truncated body the complete blocks are read, and the last piece is rejected."""
    body = GOOD + OTHER + GOOD[:200]
    assert [each.expires for each in blocks(body, complete=False)] == [1800000060, 1800000061]
    assert reasons(body, complete=False) == [
        f"more than {LIMITS.metadata_bytes} bytes of keys: this one is cut off"
    ]


def test_no_more_blocks_are_looked_at_than_the_limit_says() -> None:
    """After the limit of blocks, the rest of the body is rejected as one."""
    body = GOOD + b"x\n\n" * LIMITS.metadata_blocks + OTHER
    found = list(read(body))
    assert len(found) == LIMITS.metadata_blocks + 1
    assert [each.expires for each in blocks(body)] == [1800000060]
    assert "the others are not looked at" in reasons(body)[-1]


def test_the_fingerprint_is_the_one_that_sshd_names() -> None:
    """A block's fingerprint equals the daemon's own for the key, and a bad key has none."""
    key = PublicKey.parse(KEY, Keys(types=("ssh-ed25519",)))
    (found,) = blocks(GOOD)
    assert found.fingerprint == key.fingerprint
    (none,) = blocks(GOOD.replace(b" AAAA", b" *AAA"))
    assert none.fingerprint is None


@given(st.lists(st.sampled_from([GOOD, OTHER, *BAD.values(), b"\n", b"#\n", b"x\n"]), max_size=8))
def test_good_blocks_are_found_among_anything(pieces: list[bytes]) -> None:
    """Every valid block is found, whatever is between the blocks."""
    body = b"\n\n".join(pieces)
    if not body.endswith(b"\n"):
        body += b"\n"
    assert len(blocks(body)) == sum(piece in {GOOD, OTHER} for piece in pieces)


@given(st.binary(max_size=400))
def test_no_bytes_break_the_reader(body: bytes) -> None:
    """Any bytes give blocks or rejections, and raise nothing."""
    assert all(isinstance(each, (Block, Rejected)) for each in read(body))
    assert blocks(GOOD + b"\n" + body)[0].expires == 1800000060
