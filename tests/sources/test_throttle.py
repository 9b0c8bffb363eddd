"""agent/sources/throttle.py: limits on pushes and on failed attempts in a second."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.settings import Rate
from agent.host.bucket import Bucket
from agent.sources.throttle import Throttle, TooMany


def pushes(throttle: Throttle, name: str, now: float) -> int:
    """The number of pushes that pass until one is refused."""
    for count in range(10_000):
        try:
            throttle.take(name, now)
        except TooMany:
            return count
    raise AssertionError("there is no limit")


def test_each_credential_has_its_rate() -> None:
    """Each credential has a burst of one second's rate, which then refills continuously."""
    throttle = Throttle(Rate(per_credential=16, total=200), 100.0)
    assert pushes(throttle, "a", 100.0) == 16
    assert pushes(throttle, "b", 100.0) == 16
    assert pushes(throttle, "a", 100.0625) == 1
    assert pushes(throttle, "a", 200.0) == 16


def test_the_host_has_its_rate() -> None:
    """All credentials together are limited; a refusal for that spends no credential's own rate."""
    throttle = Throttle(Rate(per_credential=20, total=30), 0.0)
    assert [pushes(throttle, name, 0.0) for name in "abc"] == [20, 10, 0]
    assert pushes(throttle, "c", 10.0) == 20


@pytest.mark.parametrize(("rate", "words"), [(Rate(2, 9), "credentials"), (Rate(9, 2), "host")])
def test_the_wait_is_as_long_as_announced(rate: Rate, words: str) -> None:
    """A push passes after the wait that the error says, and not before."""
    throttle = Throttle(rate, 0.0)
    pushes(throttle, "a", 0.0)
    with pytest.raises(TooMany, match=words) as caught:
        throttle.take("a", 0.0)
    assert caught.value.wait == pytest.approx(0.5)
    with pytest.raises(TooMany):
        throttle.take("a", caught.value.wait - 0.01)
    throttle.take("a", caught.value.wait + 0.001)


@given(st.lists(st.floats(0, 3), max_size=40), st.integers(1, 20))
def test_never_more_than_the_rate(steps: list[float], rate: int) -> None:
    """At any time, at most the burst and the rate times the elapsed time has passed."""
    throttle, now, taken = Throttle(Rate(rate, 1000), 0.0), 0.0, 0
    for step in steps:
        now += step
        taken += pushes(throttle, "a", now)
        assert taken <= rate + rate * now + 1e-6


def test_a_bucket_fills_to_its_burst() -> None:
    """A bucket fills to its burst and not beyond."""
    bucket = Bucket.full(2.0, 5.0, 0.0)
    assert bucket.wait(1_000.0) == 0.0
    assert bucket.tokens == 5.0
