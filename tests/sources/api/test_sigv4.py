"""agent/sources/api/sigv4.py: exactly the requests that botocore signs are verified."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.api import authentication, query, sigv4
from agent.sources.api.claim import Scope
from agent.sources.api.errors import AuthException
from tests.parts.signed import SERVICE, Call, Signer, presign, push, sign

NOW = 1_800_000_000.0
SCOPE = Scope("20270115", "us-east-2", SERVICE, "aws4_request")

# Raw segments of paths and words of queries: percent escapes that are usual, and unusual ones.
_SEGMENTS = st.lists(
    st.one_of(
        st.sampled_from(
            ["", ".", "..", "base", "%20", "%2F", "%2f", "%7E", "~", "a+b", "%25", "=&"]
        ),
        st.text("abcXYZ019-._~!$'()*,;:@", max_size=6),
    ),
    max_size=5,
)
_PATHS = _SEGMENTS.map(lambda parts: "/" + "".join(f"{part}/" for part in parts))
_WORDS = st.text("abcXYZ019-._~%+/:", max_size=8)
_QUERIES = st.lists(st.tuples(_WORDS, _WORDS), max_size=4).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
)
_VALUES = st.text("abc XYZ\t019,;=\"'", max_size=20)
_NAMES = st.sampled_from(["x-amz-meta", "x-custom", "accept", "x-amz-user-agent", "X-Repeated"])
_HEADERS = st.lists(st.tuples(_NAMES, _VALUES), max_size=4)
_SIGNERS = st.builds(
    Signer,
    secret=st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=60),
    token=st.none() | st.text("abcXYZ/+=", min_size=1, max_size=40),
    at=st.floats(1_000_000_000, 4_000_000_000),
)


@st.composite
def calls(draw: Any) -> Call:
    """A request with any path, query, extra headers and body."""
    asked = draw(_QUERIES)
    target = draw(_PATHS) + (f"?{asked}" if asked else "")
    call = Call(target=target, body=draw(st.binary(max_size=200)))
    for name, value in draw(_HEADERS):
        call = call.plus(name, value)
    return call


def verify(call: Call, secret: str) -> None:
    """Raise unless the request's signature verifies with this secret."""
    request = call.request()
    parameters = query.parse(request.query) if "X-Amz-Sig" in call.target else {}
    sigv4.check_signature(request, authentication.read(request, parameters), secret)


@given(calls(), _SIGNERS)
def test_botocores_signatures_verify(call: Call, signer: Signer) -> None:
    """Any request that botocore's SigV4Auth has signed verifies as it was sent."""
    verify(sign(call, signer), signer.secret)


@given(_PATHS, st.binary(max_size=200), _SIGNERS, st.sampled_from(["", "?Version=2018-04-02"]))
def test_botocores_presigned_requests_verify(
    path: str, body: bytes, signer: Signer, asked: str
) -> None:
    """A request presigned by SigV4QueryAuth verifies, with or without a session token."""
    verify(presign(Call(target=path + asked, body=body), signer), signer.secret)


def _changes(call: Call) -> dict[str, Call]:
    date = call.value("X-Amz-Date")
    authorization = call.value("Authorization")
    signature = authorization[-64:]
    ending = "" if "?" in call.target else "base/"
    flipped = signature[:-1] + ("0" if signature[-1] != "0" else "1")
    return {
        "method": replace(call, method="PUT"),
        "path": replace(call, target="base/?".join(call.target.split("?", 1)) + ending),
        "query": replace(call, target=call.target + ("&" if "?" in call.target else "?") + "Zz=1"),
        "host": call.having("Host", "elsewhere"),
        "content type": call.having("Content-Type", "text/plain"),
        "target": call.having("X-Amz-Target", "Other.Action"),
        "a signed header again": call.plus("X-Amz-Target", "Other.Action"),
        "date": call.having("X-Amz-Date", date[:-3] + ("00Z" if date[-3:] != "00Z" else "01Z")),
        "body": replace(call, body=call.body + b" "),
        "signature": call.having("Authorization", authorization[:-64] + flipped),
        "region": call.having("Authorization", authorization.replace("/us-east-2/", "/us-west-2/")),
    }


@given(calls(), _SIGNERS, st.sampled_from(sorted(_changes(sign(Call())))))
def test_a_change_of_anything_signed_does_not_verify(call: Call, signer: Signer, what: str) -> None:
    """A change of any signed part, the scope or the signature is refused with AuthException."""
    changed = _changes(sign(call, signer))[what]
    with pytest.raises(AuthException):
        verify(changed, signer.secret)


@given(calls(), _SIGNERS)
def test_another_secret_does_not_verify(call: Call, signer: Signer) -> None:
    """A signature with another secret is refused with AuthException."""
    with pytest.raises(AuthException):
        verify(sign(call, signer), signer.secret + "x")


@given(st.binary(max_size=100), _SIGNERS, st.integers(0, 200))
def test_a_presigned_query_cannot_be_changed(body: bytes, signer: Signer, place: int) -> None:
    """A presigned query with any signed character changed is refused."""
    call = presign(Call(body=body), signer)
    signed = call.target.index("X-Amz-Signature")
    position = 2 + place % (signed - 3)
    other = "A" if call.target[position] != "A" else "B"
    changed = call.target[:position] + other + call.target[position + 1 :]
    with pytest.raises(Exception, match=r".") as caught:
        verify(replace(call, target=changed), signer.secret)
    assert type(caught.value).__module__ == "agent.sources.api.errors"


def test_an_unsigned_header_may_change() -> None:
    """A header that is not signed, such as User-Agent, may be added to a signed request."""
    verify(
        sign(push()).plus("User-Agent", "x").plus("amz-sdk-request", "attempt=2"), Signer().secret
    )


@pytest.mark.parametrize(
    ("sent", "canonical"),
    [
        ("/", "/"), ("//", "/"), ("/base/", "/base/"), ("/a//b/", "/a/b/"), ("/a/./b/", "/a/b/"),
        ("/a/../b/", "/b/"), ("/../", "/"), ("/a b/", "/a%20b/"), ("/%41/", "/%2541/"),
        ("/~_-.x/", "/~_-.x/"), ("/a=b/", "/a%3Db/"), ("/a", "/a"),
    ],
)  # fmt: skip
def test_the_path_is_normalised_and_encoded_once_more(sent: str, canonical: str) -> None:
    """The canonical path has no dot segments or doubled slashes, and is encoded again."""
    assert sigv4.canonical_path(sent.encode()) == canonical.encode()


@pytest.mark.parametrize(
    ("sent", "canonical"),
    [
        ("", ""), ("b=1&a=2", "a=2&b=1"), ("a=2&a=1", "a=1&a=2"), ("a", "a="), ("a=b=c", "a=b=c"),
        ("%41=x&B=y", "%41=x&B=y"), ("a=1&X-Amz-Signature=00&z=1", "a=1&z=1"),
        ("a-=1&a=1", "a=1&a-=1"),
    ],
)  # fmt: skip
def test_the_query_is_sorted_as_sent(sent: str, canonical: str) -> None:
    """The canonical query is sorted by encoded name and value, without X-Amz-Signature."""
    assert sigv4.canonical_query(sent.encode()) == canonical.encode()


@pytest.mark.parametrize(
    ("sent", "canonical"),
    [([b"a"], b"a"), ([b"  a \t b  "], b"a b"), ([b"b", b"a"], b"b,a"), ([b""], b"")],
)
def test_header_values_are_folded(sent: list[bytes], canonical: bytes) -> None:
    """Header values are trimmed and folded, and repeats are joined by commas in order."""
    assert sigv4.canonical_header(sent) == canonical


def test_the_published_signing_key_is_derived() -> None:
    """The signing key of the AWS General Reference's example is derived."""
    secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    key = sigv4.signing_key(secret, Scope("20150830", "us-east-1", "iam", "aws4_request"))
    assert key.hex() == "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
