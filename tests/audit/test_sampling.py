"""agent/audit/sampling.py: the first few of each group, a bound over all groups, and sums."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.audit.sampling import DEFAULT, PACES, Sampler
from agent.config.limits import LIMITS

REFUSED, GIVEN = ("push", "AuthException"), ("lookup", "given")


def admitted(sampler: Sampler, times: int, group: tuple[str, str], now: float = 0.0) -> int:
    """The number of decisions of a group that are written, out of `times`."""
    return sum(sampler.admit(REFUSED, group, now) for _ in range(times))


def test_the_first_of_each_group_are_written() -> None:
    """A group has a burst, then a rate per second, and its burst again after a pause."""
    sampler, group = Sampler(), ("replay", "AKIA")
    assert admitted(sampler, 1000, group) == LIMITS.sampled_burst
    assert admitted(sampler, 1000, group, 3.0) == 3 * LIMITS.sampled_per_second
    assert admitted(sampler, 1000, group, 10_000.0) == LIMITS.sampled_burst


def test_one_group_does_not_silence_another() -> None:
    """A flood from one source takes nothing from other sources or other kinds of records."""
    sampler = Sampler()
    admitted(sampler, 1000, ("stranger", "203.0.113.7"))
    assert admitted(sampler, 5, ("stranger", "203.0.113.8")) == 5
    assert admitted(sampler, 5, ("refused", "203.0.113.7")) == 5


def test_many_sources_share_one_limit() -> None:
    """Many sources that send one request each share one limit of records."""
    sampler = Sampler()
    crowd = sum(admitted(sampler, 1, ("stranger", f"source {n}")) for n in range(50_000))
    assert crowd == LIMITS.sampled_total_burst
    again = sum(admitted(sampler, 1, ("stranger", f"source {n}"), 2.0) for n in range(50_000))
    assert again == 2 * LIMITS.sampled_total_per_second


def test_the_first_login_with_a_key_is_always_written() -> None:
    """The first lookup of each lease is always written, however many others there are."""
    sampler = Sampler()
    for number in range(100):
        for _ in range(LIMITS.given_burst):
            sampler.admit(GIVEN, ("given", f"lease {number}"), 0.0)
    assert not sampler.admit(GIVEN, ("given", "lease 0"), 0.0)
    assert all(sampler.admit(GIVEN, ("given", f"new {number}"), 0.0) for number in range(5000))


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0.0, 2.0)), max_size=300))
def test_no_more_are_admitted_than_the_buckets_hold(steps: list[tuple[int, float]]) -> None:
    """Over any groups and times, no more is written than burst and rate allow.

    Every other decision is in a sum.
    """
    sampler, now, written, mine = Sampler(), 0.0, 0, 0
    for member, pause in steps:
        now += pause
        ok = sampler.admit(REFUSED, ("stranger", str(member)), now)
        written += ok
        mine += ok and member == 0
    assert written <= DEFAULT.total_burst + now * DEFAULT.total_per_second + 1e-6
    assert mine <= DEFAULT.burst + now * DEFAULT.per_second + 1e-6
    summed = sum(sum(found.decisions.values()) for found in sampler.take_sums(now))
    assert written + summed == len(steps)


def test_a_sum_names_the_largest_groups_and_counts_the_rest() -> None:
    """A sum names the groups with the most decisions and counts the others together."""
    sampler = Sampler()
    for number in range(30):
        admitted(sampler, LIMITS.sampled_burst + number, ("stranger", f"source {number:02}"))
    (found,) = sampler.take_sums(0.0)
    total = sum(found.decisions.values())
    assert list(found.groups) == [f"source {number:02}" for number in range(29, 19, -1)]
    assert sum(found.groups.values()) + found.others == total
    assert sampler.take_sums(0.0) == []


def test_sums_are_returned_when_they_are_due() -> None:
    """A sum is due by the time of its own first decision, and has its own first and last times."""
    sampler = Sampler()
    admitted(sampler, LIMITS.sampled_burst + 1, ("replay", "AKIA"), 100.0)
    admitted(sampler, LIMITS.sampled_burst + 1, ("throttled", "AKIA"), 105.0)
    admitted(sampler, 1, ("replay", "AKIA"), 100.5)
    assert sampler.take_sums(99.0) == []
    (found,) = sampler.take_sums(100.0)
    assert (found.kind, found.first, found.last) == ("replay", 100.0, 100.5)
    assert [other.kind for other in sampler.take_sums(105.0)] == ["throttled"]


def test_memory_is_bounded_for_any_number_of_groups() -> None:
    """Memory is bounded for any number of groups, and every decision is still counted."""
    sampler = Sampler()
    for number in range(3 * DEFAULT.groups):
        admitted(sampler, 1, ("stranger", str(number)))
    kind = sampler._kinds["stranger"]
    assert len(kind._groups) == DEFAULT.groups
    assert len(kind._by_group) <= DEFAULT.groups
    (found,) = sampler.take_sums(0.0)
    assert len(found.groups) == LIMITS.summed_groups
    assert sum(found.decisions.values()) == 3 * DEFAULT.groups - DEFAULT.total_burst


def test_only_given_keys_are_essential() -> None:
    """Only records of keys that were given are essential, and no refusal is."""
    assert [kind for kind, pace in PACES.items() if pace.essential] == ["given"]
    assert not DEFAULT.essential
