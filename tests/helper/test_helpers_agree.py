"""The Python helper and the compiled one print the same for any answer of a daemon."""

from __future__ import annotations

import base64
import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helper.test_options import NO_PLACES, PLACES, WORDS
from tests.parts.helper_kinds import COMPILED
from tests.parts.host import work_directory
from tests.parts.key_lines import REQUEST_ID, line
from tests.parts.keys import KeyPair
from tests.parts.stub_lookup import Helper, StubLookup

OTHER = "sanitized" if "sanitized" in COMPILED else COMPILED[0]
TYPES = [
    "ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
    "ssh-dss", "", "ssh-ed25519-cert-v01@openssh.com",
]  # fmt: skip


class Both:
    """Both helpers, and a daemon that sends them a chosen answer."""

    def __init__(self, folder: Path) -> None:
        self.answer = b""
        self.stub = StubLookup(folder, self._behave)
        self.helpers = []
        for kind in ("python", OTHER):
            (folder / kind).mkdir()
            self.helpers.append(Helper(folder / kind, kind))

    def _behave(self, connection: socket.socket) -> None:
        connection.sendall(self.answer)

    def agree(self, answer: bytes, *words: str) -> bytes:
        """Return what both helpers print; fail if they differ."""
        self.answer = answer
        for _ in range(3):
            one, other = (each.run("--socket", self.stub.path, *words) for each in self.helpers)
            # On a busy machine a helper may use up its second, and has to be asked again.
            if not any(b"within a second" in text for text in one.warnings + other.warnings):
                break
        assert one.out == other.out
        assert (one.status, one.err) == (other.status, other.err) == (0, b"")
        assert [text_of(each) for each in one.warnings] == [text_of(e) for e in other.warnings]
        return one.out


def text_of(warning: bytes) -> bytes:
    """Return a syslog datagram's text, without the process id."""
    head, _, text = warning.partition(b"]: ")
    assert head.startswith(b"<84>sixtykey-authorized-keys[")
    return text


@pytest.fixture(scope="module", name="both")
def _both() -> Iterator[Both]:
    with work_directory() as folder:
        made = Both(folder)
        with made.stub:
            yield made
        for each in made.helpers:
            each.close()


def options() -> st.SearchStrategy[str]:
    """Options before a key, valid or almost valid."""
    place = st.sampled_from(PLACES + NO_PLACES) | st.ip_addresses().map(str)
    place |= st.ip_addresses(v=6).map(lambda each: f"{each}/64")
    words = st.lists(st.sampled_from(WORDS), max_size=4) | st.sets(
        st.sampled_from(WORDS), max_size=6
    ).map(lambda chosen: [word for word in WORDS if word in chosen])
    return st.builds(
        lambda where, more: ",".join([f'from="{each}"' for each in where] + more),
        st.lists(place, max_size=1),
        words,
    )


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """One line, valid or wrong in a place or two."""
    kind, inside = draw(st.sampled_from(TYPES)), draw(st.sampled_from(TYPES))
    blob = len(inside).to_bytes(4, "big") + inside.encode() + draw(st.binary(max_size=80))
    encoded = draw(st.sampled_from([base64.b64encode(blob)] * 5 + [base64.urlsafe_b64encode(blob)]))
    words = [(inside if draw(st.booleans()) else kind).encode(), encoded, REQUEST_ID.encode()]
    if draw(st.booleans()):
        words.insert(0, draw(options()).encode("latin-1", "replace"))
    if draw(st.integers(0, 4)) == 0:
        words.append(draw(st.sampled_from([b"", b"more", b"\0"])))
    made = b" ".join(words)
    if draw(st.integers(0, 3)) == 0:
        at, wrong = draw(st.integers(0, len(made))), draw(st.binary(max_size=2))
        made = made[:at] + wrong + made[at + draw(st.integers(0, 2)) :]
    return made + b"\n"


@settings(max_examples=150)
@given(
    answer=st.lists(lines() | st.binary(max_size=60).map(lambda each: each + b"\n"), max_size=6),
    end=st.sampled_from([b"\n"] * 8 + [b"", b"\n\n", b"\nssh-rsa\n"]),
)
def test_both_helpers_agree_on_any_answer(both: Both, answer: list[bytes], end: bytes) -> None:
    """For any answer both helpers print the same lines, end alike and log the same warnings."""
    printed = both.agree(b"".join(answer) + end, "root")
    assert set(printed.splitlines(keepends=True)) <= set(answer)


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_both_helpers_agree_on_a_key_of_any_length(both: Both, algorithm: str) -> None:
    """Both helpers compute the right fingerprint for a key of any length."""
    name = b"ssh-ed25519"
    for length in range(70):
        blob = len(name).to_bytes(4, "big") + name + bytes(range(length))
        digest = hashlib.new(algorithm, blob, usedforsecurity=False).digest()
        fingerprint = "MD5:" + digest.hex(":")
        if algorithm == "sha256":
            fingerprint = "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
        made = [
            b"ssh-ed25519 " + base64.b64encode(each) + b" " + REQUEST_ID.encode() + b"\n"
            for each in (blob + b"\0", blob)
        ]
        assert both.agree(b"".join(made) + b"\n", "root", fingerprint) == made[1]


@pytest.mark.parametrize("length", range(3))
def test_both_helpers_take_one_spelling_of_a_key(both: Both, length: int) -> None:
    """A key whose base64 has unused bits set, or other padding, is dropped (RFC 4648, 3.5)."""
    encoded = base64.b64encode(b"\0\0\0\x0bssh-ed25519" + bytes(30 + length)).decode()
    bare = encoded.rstrip("=")
    padding = encoded[len(bare) :]
    words = [encoded, *(bare + "=" * count for count in range(5))]
    # The last digit is A, whose bits are all unset.
    words += [f"{bare[:-1]}{digit}{padding}" for digit in "BCDEIQg"]
    lines = [f"ssh-ed25519 {word} {REQUEST_ID}\n".encode() for word in words]
    right = [each for word, each in zip(words, lines) if is_usual(word)]
    assert is_usual(encoded)
    assert len(right) < len(words)
    assert both.agree(b"".join(lines) + b"\n", "root") == b"".join(right)


def is_usual(word: str) -> bool:
    """Whether encoding what a word decodes to gives the same word."""
    try:
        return base64.b64encode(base64.b64decode(word, validate=True)).decode() == word
    except ValueError:
        return False


@settings(max_examples=40)
@given(
    user=st.text(st.characters(exclude_characters="\0"), max_size=20),
    fingerprint=st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=60)
    | st.sampled_from(["SHA256:", "MD5:", "MD5:0", "SHA256", "SHA256:" + "A" * 43]),
)
def test_both_helpers_agree_on_any_command_line(
    both: Both, keys: dict[str, KeyPair], user: str, fingerprint: str
) -> None:
    """Both helpers print nothing for any user name with a fingerprint that matches no key."""
    if user.startswith("-") or any(0xD800 <= ord(each) < 0xE000 for each in user):
        return
    assert both.agree(line(keys["ed25519"]) + b"\n", user, fingerprint) == b""


def test_both_helpers_agree_on_the_longest_answer(both: Both, keys: dict[str, KeyPair]) -> None:
    """Both helpers decide alike on an answer at the size limit, a byte below and a byte above."""
    room = (1 << 20) - 1
    count = room // len(line(keys["ed25519"]))
    some = line(keys["ed25519"]) * (count - 1)
    for length in (room - 1, room, room + 1, room + 70_000):
        filled = some + b"x" * (length - len(some) - 1) + b"\n"
        assert len(filled) == length
        assert (both.agree(filled + b"\n", "root") == some) is (length <= room)
