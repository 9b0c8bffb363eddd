"""agent/sources/api/claim.py: the date and the scope that a signed request claims."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.api.claim import Claim, Scope, parse_date
from agent.sources.api.errors import IncompleteSignature, RequestExpired
from tests.parts.signed import SERVICE

NOW = 1_800_000_000.0
SCOPE = Scope("20270115", "us-east-2", SERVICE, "aws4_request")


@pytest.mark.parametrize(
    "text",
    [
        "", "20270115T080000", "20270115T080000z", "2027-01-15T08:00:00Z", "20271315T080000Z",
        "20270230T080000Z", "20270115T250000Z", "20270115T080060Z", "00000101T000000Z",
        "20270115T080000Z\n", "٢٠270115T080000Z", "Fri, 15 Jan 2027 08:00:00 GMT",
    ],
)  # fmt: skip
def test_a_date_is_iso_8601_basic_or_refused(text: str) -> None:
    """A date in another format, or one that does not exist, is refused."""
    with pytest.raises(IncompleteSignature):
        parse_date(text)


@given(st.integers(0, 4_000_000_000))
def test_a_date_is_read_as_utc(moment: int) -> None:
    """A date is read as UTC seconds since the epoch."""
    text = datetime.fromtimestamp(moment, timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    assert parse_date(text) == moment


def claimed(**changes: Any) -> Claim:
    """An authentication that was signed at NOW, with these changes."""
    whole = Claim("AKIA", SCOPE, ("host",), "0" * 64, "20270115T080000Z")
    return replace(whole, **changes)


@pytest.mark.parametrize("age", [-900.0, 0.0, 900.0])
def test_fifteen_minutes_either_way_are_taken(age: float) -> None:
    """A date of exactly 15 minutes early or late is accepted."""
    assert claimed().signed_at == NOW
    claimed().check_date(NOW + age, 900)


@pytest.mark.parametrize(("age", "side"), [(-901.0, "ahead of"), (901.0, "behind")])
def test_more_than_fifteen_minutes_expire(age: float, side: str) -> None:
    """A date more than 15 minutes off is RequestExpired, and the error says which way."""
    with pytest.raises(RequestExpired, match=side):
        claimed().check_date(NOW + age, 900)


def test_presigned_for_less_expires_earlier() -> None:
    """X-Amz-Expires counts from the date, and its last second is still valid."""
    presigned = claimed(expires=60)
    presigned.check_date(NOW + 60, 900)
    presigned.check_date(NOW - 30, 900)
    with pytest.raises(RequestExpired, match="presigned for 60"):
        presigned.check_date(NOW + 61, 900)


@pytest.mark.parametrize(
    ("what", "value"),
    [("day", "20270114"), ("region", "us-west-2"), ("service", "ec2"), ("terminator", "aws3")],
)
def test_each_part_of_the_scope_must_be_right(what: str, value: str) -> None:
    """A wrong day, region, service or terminator is refused with an error that names it."""
    claimed().check_scope("us-east-2")
    with pytest.raises(IncompleteSignature, match=what) as caught:
        claimed(scope=SCOPE._replace(**{what: value})).check_scope("us-east-2")
    assert "us-east-2" not in str(caught.value)
