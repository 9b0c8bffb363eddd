"""UTC times are parsed as by the standard library, without importing `calendar`."""

from __future__ import annotations

import calendar
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.client import utc

MOMENTS = st.integers(0, 4_102_444_800)


@given(MOMENTS)
def test_every_second_of_this_century_is_read_back(moment: int) -> None:
    """The ISO and HTTP dates of any time in this century are parsed to that time."""
    parts = time.gmtime(moment)
    assert calendar.timegm(parts) == moment
    assert utc.of_iso(time.strftime("%Y-%m-%dT%H:%M:%SZ", parts)) == moment
    assert utc.of_http(time.strftime("%a, %d %b %Y %H:%M:%S GMT", parts)) == moment


@pytest.mark.parametrize("text", ["", "now", "2026-11-26", "20261126120000x", "x" * 14, "٢" * 14])
def test_an_invalid_date_is_refused(text: str) -> None:
    """A text that is not a date raises ValueError."""
    for read in (utc.of_iso, utc.of_http):
        with pytest.raises(ValueError, match="no"):
            read(text)
