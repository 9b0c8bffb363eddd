"""agent/audit/sampling.py: the first few of each group, a bound over all groups, and the sum."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.audit.sampling import DEFAULT, PACES, Sampler
from agent.config.limits import LIMITS

REFUSED, GIVEN = ("push", "AuthException"), ("lookup", "given")


def admitted(sampler: Sampler, times: int, group: tuple[str, str], now: float = 0.0) -> int:
    """How many of `count` decisions of a group are written."""
    return sum(sampler.admit(REFUSED, group, now) for _ in range(times))


def test_the_first_of_each_group_are_written() -> None:
    """A burst, then a rate per second; a quiet group gets its burst back, and no more."""
    sampler, group = Sampler(), ("replay", "AKIA")
    assert admitted(sampler, 1000, group) == LIMITS.sampled_burst
    assert admitted(sampler, 1000, group, 3.0) == 3 * LIMITS.sampled_per_second
    assert admitted(sampler, 1000, group, 10_000.0) == LIMITS.sampled_burst


def test_one_group_does_not_silence_another() -> None:
    """A flood of one source leaves the others' records as they are, in its kind and in others."""
    sampler = Sampler()
    admitted(sampler, 1000, ("stranger", "203.0.113.7"))
    assert admitted(sampler, 5, ("stranger", "203.0.113.8")) == 5
    assert admitted(sampler, 5, ("refused", "203.0.113.7")) == 5


def test_a_crowd_of_sources_has_one_bound() -> None:
    """Many sources that send one request each share one limit of records."""
    sampler = Sampler()
    crowd = sum(admitted(sampler, 1, ("stranger", f"source {n}")) for n in range(50_000))
    assert crowd == LIMITS.sampled_total_burst
    again = sum(admitted(sampler, 1, ("stranger", f"source {n}"), 2.0) for n in range(50_000))
    assert again == 2 * LIMITS.sampled_total_per_second


def test_the_first_login_with_a_key_is_always_written() -> None:
    """Whatever else is looked up: each lease's first lookup has its record, its thousandth not."""
    sampler = Sampler()
    for number in range(100):
        for _ in range(LIMITS.given_burst):
            sampler.admit(GIVEN, ("given", f"lease {number}"), 0.0)
    assert not sampler.admit(GIVEN, ("given", "lease 0"), 0.0)
    assert all(sampler.admit(GIVEN, ("given", f"new {number}"), 0.0) for number in range(5000))


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0.0, 2.0)), max_size=300))
def test_no_more_than_the_buckets_hold(steps: list[tuple[int, float]]) -> None:
    """Over any time and groups: written is what burst and rate allow; the rest is summed up."""
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


def test_a_sum_names_the_loudest_and_counts_the_rest() -> None:
    """Ten groups by name, the others together; nothing is told twice."""
    sampler = Sampler()
    for number in range(30):
        admitted(sampler, LIMITS.sampled_burst + number, ("stranger", f"source {number:02}"))
    (found,) = sampler.take_sums(0.0)
    total = sum(found.decisions.values())
    assert list(found.groups) == [f"source {number:02}" for number in range(29, 19, -1)]
    assert sum(found.groups.values()) + found.others == total
    assert sampler.take_sums(0.0) == []


def test_sums_are_told_when_they_are_due() -> None:
    """Each begins with its first decision, and has its own times."""
    sampler = Sampler()
    admitted(sampler, LIMITS.sampled_burst + 1, ("replay", "AKIA"), 100.0)
    admitted(sampler, LIMITS.sampled_burst + 1, ("throttled", "AKIA"), 105.0)
    admitted(sampler, 1, ("replay", "AKIA"), 100.5)
    assert sampler.take_sums(99.0) == []
    (found,) = sampler.take_sums(100.0)
    assert (found.kind, found.first, found.last) == ("replay", 100.0, 100.5)
    assert [other.kind for other in sampler.take_sums(105.0)] == ["throttled"]


def test_memory_is_bounded_whoever_comes() -> None:
    """A million sources leave no more behind than a few thousand."""
    sampler = Sampler()
    for number in range(3 * DEFAULT.groups):
        admitted(sampler, 1, ("stranger", str(number)))
    kind = sampler._kinds["stranger"]
    assert len(kind._groups) == DEFAULT.groups
    assert len(kind._summed) <= DEFAULT.groups
    (found,) = sampler.take_sums(0.0)
    assert len(found.groups) == LIMITS.summed_groups
    assert sum(found.decisions.values()) == 3 * DEFAULT.groups - DEFAULT.total_burst


def test_only_what_lets_somebody_in_is_essential() -> None:
    """No kind of refusal may take the room that is kept."""
    assert [kind for kind, pace in PACES.items() if pace.essential] == ["given"]
    assert not DEFAULT.essential
