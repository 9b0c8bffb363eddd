"""How long a key lives."""

from __future__ import annotations

from typing import Optional

from hypothesis import given
from hypothesis import strategies as st

from agent.sources import lifetime

SECONDS = st.floats(0.001, 60.0)


@given(SECONDS, st.lists(st.none() | SECONDS, max_size=4))
def test_the_shortest_lifetime_counts(host: float, others: list[Optional[float]]) -> None:
    """The lifetime is one of those given, and no longer than any of them; None changes nothing."""
    decided = lifetime.decide(host, *others)
    limits = [host, *(each for each in others if each is not None)]
    assert decided in limits
    assert all(decided <= each for each in limits)


def test_without_other_limits_the_hosts_lifetime_counts() -> None:
    """An offer without a limit of its own gets the host's lifetime."""
    assert lifetime.decide(45) == 45
    assert lifetime.decide(45, None, None) == 45
