"""agent/sources/api/query.py: the query string's parameters, all known and none repeated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.api import query
from agent.sources.api.errors import InvalidQueryParameter, MalformedQueryString


def test_parameters_are_decoded() -> None:
    """Parameter names and values are percent-decoded, and a plus sign is kept."""
    assert query.parse(b"%41ction=a%20b+c&Version=") == {"Action": "a b+c", "Version": ""}
    assert query.parse(b"") == {}


@pytest.mark.parametrize("raw", [b"%", b"Action=%", b"Action=%4", b"%zz=1", b"Action=%f\xe9"])
def test_a_broken_escape_is_refused(raw: bytes) -> None:
    """A broken percent escape anywhere is refused with MalformedQueryString."""
    with pytest.raises(MalformedQueryString):
        query.parse(raw)


@pytest.mark.parametrize("raw", [b"Action=%ff", b"%c3=1", b"Version=\xe9"])
def test_text_that_is_not_utf_8_is_refused(raw: bytes) -> None:
    """A name or value that is not UTF-8 is refused with MalformedQueryString."""
    with pytest.raises(MalformedQueryString):
        query.parse(raw)


@pytest.mark.parametrize(
    "raw", [b"Other=1", b"action=x", b"X-Amz-Other=1", b"&", b"Action=x&", b"=", b"InstanceId=i-0"]
)
def test_unknown_parameters_are_refused(raw: bytes) -> None:
    """An unknown parameter is refused with InvalidQueryParameter; names are case-sensitive."""
    with pytest.raises(InvalidQueryParameter, match="not known"):
        query.parse(raw)


def test_repeated_parameters_are_refused() -> None:
    """A repeated parameter is refused in any spelling, even if both values are the same."""
    with pytest.raises(InvalidQueryParameter, match="twice"):
        query.parse(b"Action=x&%41ction=x")


def test_a_broken_escape_comes_before_what_is_unknown() -> None:
    """A broken escape is reported before an unknown parameter, as in the reference's table."""
    with pytest.raises(MalformedQueryString):
        query.parse(b"Other=1&Action=%")


@given(st.binary(max_size=60))
def test_any_query_is_read_or_refused(raw: bytes) -> None:
    """Any query string yields known parameters or one of two errors."""
    try:
        assert set(query.parse(raw)) <= query.KNOWN
    except (MalformedQueryString, InvalidQueryParameter):
        pass
