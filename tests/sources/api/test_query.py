"""agent/sources/api/query.py: the query string's parameters, each known and at most once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.api import query
from agent.sources.api.errors import InvalidQueryParameter, MalformedQueryString


def test_a_target_is_split_as_sent() -> None:
    """At the first question mark, nothing decoded."""
    assert query.split(b"/a%2F/?x=%41?y") == (b"/a%2F/", b"x=%41?y")
    assert query.split(b"/") == (b"/", b"")


def test_parameters_are_decoded() -> None:
    """Names and values; a plus sign is a plus sign."""
    assert query.parse(b"%41ction=a%20b+c&Version=") == {"Action": "a b+c", "Version": ""}
    assert query.parse(b"") == {}


@pytest.mark.parametrize("raw", [b"%", b"Action=%", b"Action=%4", b"%zz=1", b"Action=%f\xe9"])
def test_a_broken_escape(raw: bytes) -> None:
    """MalformedQueryString, wherever it stands."""
    with pytest.raises(MalformedQueryString):
        query.parse(raw)


@pytest.mark.parametrize("raw", [b"Action=%ff", b"%c3=1", b"Version=\xe9"])
def test_what_is_not_utf_8(raw: bytes) -> None:
    """MalformedQueryString."""
    with pytest.raises(MalformedQueryString):
        query.parse(raw)


@pytest.mark.parametrize(
    "raw", [b"Other=1", b"action=x", b"X-Amz-Other=1", b"&", b"Action=x&", b"=", b"InstanceId=i-0"]
)
def test_unknown_parameters_are_refused(raw: bytes) -> None:
    """InvalidQueryParameter; names are case-sensitive."""
    with pytest.raises(InvalidQueryParameter, match="not known"):
        query.parse(raw)


def test_repeated_parameters_are_refused() -> None:
    """InvalidQueryParameter, although both say the same, and in whatever spelling."""
    with pytest.raises(InvalidQueryParameter, match="twice"):
        query.parse(b"Action=x&%41ction=x")


def test_a_broken_escape_comes_before_what_is_unknown() -> None:
    """The table's order holds within the query string too."""
    with pytest.raises(MalformedQueryString):
        query.parse(b"Other=1&Action=%")


@given(st.binary(max_size=60))
def test_no_query_makes_it_stumble(raw: bytes) -> None:
    """Arbitrary bytes are parameters that are known, or one of two errors."""
    try:
        assert set(query.parse(raw)) <= query.KNOWN
    except (MalformedQueryString, InvalidQueryParameter):
        pass
