"""The breaker: failures in a row open it, and one attempt after a rest decides."""

from __future__ import annotations

from agent.config.limits import LIMITS
from agent.sources.feed.breaker import Breaker
from tests.parts.clock import ManualClock


def make_breaker(clock: ManualClock, said: list[str]) -> Breaker:
    """A breaker that has just opened."""
    breaker = Breaker(clock, said.append)
    for number in range(LIMITS.pull_failures):
        assert breaker.admits()
        breaker.fail(f"reason {number}")
    return breaker


def test_a_run_of_failures_opens_it_and_is_reported_once() -> None:
    """Failures in a row open the breaker, which is logged once with the last reason."""
    said: list[str] = []
    clock = ManualClock()
    breaker = make_breaker(clock, said)
    assert breaker.is_open
    assert not breaker.admits()
    assert len(said) == 1
    assert f"reason {LIMITS.pull_failures - 1}" in said[0]
    clock.advance(LIMITS.pull_rest_seconds)
    assert breaker.admits()
    breaker.fail("still")
    assert len(said) == 1


def test_a_success_between_failures_begins_anew() -> None:
    """A success resets the count of failures."""
    said: list[str] = []
    breaker = Breaker(ManualClock(), said.append)
    for _ in range(3):
        for _ in range(LIMITS.pull_failures - 1):
            breaker.fail("x")
        breaker.succeed()
    assert not breaker.is_open
    assert said == []


def test_one_attempt_after_the_rest_decides() -> None:
    """After the rest a single attempt is admitted, and its success closes the breaker."""
    said: list[str] = []
    clock = ManualClock()
    breaker = make_breaker(clock, said)
    clock.advance(LIMITS.pull_rest_seconds)
    assert breaker.admits()
    assert not breaker.admits()
    breaker.succeed()
    assert not breaker.is_open
    assert breaker.admits()
    assert len(said) == 2
    assert "answers again" in said[1]


def test_each_rest_is_twice_as_long_up_to_five_seconds() -> None:
    """Each rest is twice as long as the one before, up to five seconds."""
    clock = ManualClock()
    breaker, rests = make_breaker(clock, []), []
    for _ in range(8):
        waited = 0.0
        while not breaker.admits():
            clock.advance(1)
            waited += 1
        rests.append(waited)
        breaker.fail("still")
    assert rests == [2, 4, 5, 5, 5, 5, 5, 5]


def test_another_source_begins_with_a_closed_one() -> None:
    """A new source starts with a closed breaker, without a log line."""
    said: list[str] = []
    breaker = make_breaker(ManualClock(), said)
    breaker.reset()
    assert breaker.admits()
    assert len(said) == 1
