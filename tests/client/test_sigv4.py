"""The client's signer gives the same signatures as botocore's."""

from __future__ import annotations

from typing import Optional
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.client.sigv4 import Credential, sign
from tests.parts.signed import Call, Signer
from tests.parts.signed import sign as sign_with_botocore

SERVICE = "ec2-instance-connect"
PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126))
TEXTS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)


@given(
    key=TEXTS, secret=TEXTS, token=st.none() | TEXTS, region=TEXTS, body=st.binary(max_size=200),
    at=st.integers(0, 4_000_000_000), value=PRINTABLE,
)  # fmt: skip
def test_signatures_equal_botocores(
    key: str, secret: str, token: Optional[str], region: str, body: bytes, at: int, value: str
) -> None:
    """A request is signed as by botocore, for any credential, region, body, time and header."""
    headers = {"host": "127.0.0.1:8060", "x-amz-target": value.strip() or "x", "content-type": "a"}
    ours = sign(Credential(key, secret, token or ""), (region, SERVICE), "/", headers, body, at)
    call = Call(headers=tuple(headers.items()), body=body)
    theirs = sign_with_botocore(call, Signer(key, secret, token, region, SERVICE, at))
    assert ours["authorization"] == theirs.value("Authorization")
    assert ours["x-amz-date"] == theirs.value("X-Amz-Date")


@pytest.mark.parametrize("path", ["/", "/base/"])
def test_the_signed_path_is_the_one_sent(path: str) -> None:
    """The base path of an endpoint is part of the canonical request that is signed."""
    headers = {"host": "127.0.0.1:8060", "x-amz-target": "x"}
    ours = sign(Credential("AKIA", "secret"), ("r-1", SERVICE), path, headers, b"{}", 1.0)
    call = Call(target=urlsplit(path).path, headers=tuple(headers.items()))
    theirs = sign_with_botocore(call, Signer("AKIA", "secret", None, "r-1", SERVICE, 1.0))
    assert ours["authorization"] == theirs.value("Authorization")
