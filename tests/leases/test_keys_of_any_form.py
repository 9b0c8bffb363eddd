"""Public keys of any form: what is accepted is one whole key, spelled in one way."""

from __future__ import annotations

import base64
from typing import Optional

import paramiko
from hypothesis import given
from hypothesis import strategies as st

from agent.config.settings import KEY_TYPES
from agent.leases.keys import KeyRejected, PublicKey
from tests.leases.test_keys import line, parse, string


def _tries(text: str) -> Optional[PublicKey]:
    try:
        return parse(text)
    except KeyRejected:
        return None


ED25519 = st.binary(min_size=32, max_size=32).map(lambda raw: string(b"ssh-ed25519") + string(raw))
BLOBS = st.one_of(
    ED25519,
    st.tuples(ED25519, st.binary(max_size=4)).map(lambda parts: parts[0] + parts[1]),
    st.binary(max_size=80),
)
LINES = st.one_of(
    st.tuples(st.sampled_from(KEY_TYPES), BLOBS, st.text(max_size=20)).map(
        lambda parts: f"{line(parts[0], parts[1])} {parts[2]}"
    ),
    st.text(max_size=120),
)


@given(LINES)
def test_whatever_is_taken_encodes_to_itself_on_one_line(text: str) -> None:
    """An accepted key is printed on one line, from which the same key is parsed."""
    key = _tries(text)
    if key is None:
        return
    printed = key.line("id")
    assert printed.count("\n") == 1
    assert printed.isascii()
    assert printed.split() == [key.type, base64.b64encode(key.blob).decode(), "id"]
    assert parse(printed) == key
    assert key.base64 in text


@given(st.binary(min_size=32, max_size=32))
def test_any_32_bytes_are_an_ed25519_key(raw: bytes) -> None:
    """Any 32 bytes are accepted as an Ed25519 key, as by sshd."""
    key = parse(line("ssh-ed25519", string(b"ssh-ed25519") + string(raw)))
    assert key.blob[-32:] == raw


@given(BLOBS)
def test_an_ed25519_key_is_what_paramiko_reads_and_writes_the_same(blob: bytes) -> None:
    """The comparison with the only form of an Ed25519 key accepts what paramiko would, no more."""
    try:
        same = paramiko.Ed25519Key(data=blob).asbytes() == blob
    except Exception:  # noqa: BLE001 - paramiko raises many types here
        same = False
    assert (_tries(line("ssh-ed25519", blob)) is not None) is same
