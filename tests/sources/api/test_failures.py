"""agent/sources/api/failures.py: attempts to guess a secret are few."""

from __future__ import annotations

import pytest

from agent.config.limits import LIMITS
from agent.sources.api.failures import FailurePace
from agent.sources.throttle import TooMany


def failures(pace: FailurePace, kind: tuple[str, str], now: float) -> int:
    """The number of failures that are counted until an attempt is refused."""
    for count in range(1000):
        try:
            pace.check(kind, now)
        except TooMany:
            return count
        pace.count(kind, now)
    raise AssertionError("there is no limit")


def test_failures_of_one_kind_are_refused_after_a_burst() -> None:
    """Ten failures of one kind are let through, then one a second; other kinds have their own."""
    pace = FailurePace()
    assert failures(pace, ("10.0.0.1", "AKIA1"), 0.0) == LIMITS.failures_burst
    assert failures(pace, ("10.0.0.1", "AKIA1"), 0.5) == 0
    assert failures(pace, ("10.0.0.1", "AKIA1"), 1.0) == 1
    assert failures(pace, ("10.0.0.1", "AKIA2"), 1.0) == LIMITS.failures_burst
    assert failures(pace, ("10.0.0.2", "AKIA1"), 1.0) == LIMITS.failures_burst
    assert failures(pace, ("10.0.0.1", "AKIA1"), 1_000.0) == LIMITS.failures_burst


def test_attempts_in_debt_make_the_debt_no_deeper() -> None:
    """Refused attempts do not extend the wait."""
    pace = FailurePace()
    failures(pace, ("10.0.0.1", ""), 0.0)
    for _ in range(1000):
        with pytest.raises(TooMany) as caught:
            pace.check(("10.0.0.1", ""), 0.0)
    assert caught.value.wait == pytest.approx(1.0)
    pace.check(("10.0.0.1", ""), 1.0)
