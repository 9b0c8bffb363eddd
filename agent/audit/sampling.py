"""Decides which decisions of a flood get their own record, and sums up the rest.

Each group (an unverified source, a principal that replays) has a token bucket, and all groups of a
kind share another one: neither one source nor a crowd of sources fills the log. The rest is
counted, in one record for each kind of flood. No I/O and no clock.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from agent.config.limits import LIMITS

Decision = tuple[str, str]
"""A decision's event and outcome."""
Group = tuple[str, str]
"""The kind of a flood, and its source or principal: ("stranger", "203.0.113.7")."""


@dataclass(frozen=True)
class Pace:
    """How many decisions get a record: a burst, then a number per second.

    Attributes:
        total_burst, total_per_second: the same for all groups of the kind together.
        groups: how many are tracked; beyond that the one seen longest ago is forgotten.
        essential: these grant access. The first of each group is written even if the total is used
            up, and other kinds do not displace them (see LineWriter).
    """

    burst: float = LIMITS.sampled_burst
    per_second: float = LIMITS.sampled_per_second
    total_burst: float = LIMITS.sampled_total_burst
    total_per_second: float = LIMITS.sampled_total_per_second
    groups: int = LIMITS.sampled_groups
    essential: bool = False


DEFAULT = Pace()
PACES: Mapping[str, Pace] = {
    "given": Pace(
        LIMITS.given_burst,
        LIMITS.given_per_second,
        LIMITS.given_total_burst,
        LIMITS.given_total_per_second,
        LIMITS.given_groups,
        essential=True,
    ),
}
"""The kinds of floods that have a pace of their own; every other kind has the default."""


@dataclass(frozen=True)
class Sum:
    """Decisions of one kind that were counted and not recorded.

    Attributes:
        decisions: a count for each event and outcome.
        groups: those with the most decisions, with their numbers.
        others: the number of decisions of all other groups.
        first, last: times of the first and the last (CLOCK_BOOTTIME, s).
    """

    kind: str
    decisions: Mapping[Decision, int]
    groups: Mapping[str, int]
    others: int
    first: float
    last: float


def is_essential(group: Group) -> bool:
    """Whether this group's decisions grant access."""
    return PACES.get(group[0], DEFAULT).essential


class _Kind:
    """The groups of one kind of flood, and the sum of what was not recorded.

    A token bucket is stored as one time: when it will be full again (generic cell rate algorithm).
    There may be thousands, and each lookup that gives a key uses one.
    """

    def __init__(self, pace: Pace, now: float) -> None:
        self._most = pace.groups
        self._essential = pace.essential
        self._interval = 1.0 / pace.per_second
        self._total_interval = 1.0 / pace.total_per_second
        # How far ahead that time may be while a token is left; half a token allows for rounding.
        self._reach = (pace.burst - 0.5) * self._interval
        self._total_reach = (pace.total_burst - 0.5) * self._total_interval
        self._total = now
        self._groups: OrderedDict[str, float] = OrderedDict()
        self._by_group: Counter[str] = Counter()
        self._decisions: Counter[Decision] = Counter()
        self.first = self._last = now

    def admit(self, decision: Decision, name: str, now: float) -> bool:
        """Whether this one is recorded; if not, it is counted. `now`: CLOCK_BOOTTIME, s."""
        full = self._groups.get(name)
        if full is None:
            first, full = True, now
            self._track(name, now)
        else:
            first = False
            self._groups.move_to_end(name)
            full = max(full, now)
        total = max(self._total, now)
        enough = full - now < self._reach and total - now < self._total_reach
        if enough or (first and self._essential):
            self._groups[name] = full + self._interval
            self._total = min(total, now + self._total_reach) + self._total_interval
            return True
        if not self._decisions:
            self.first = now
        self._last = now
        self._decisions[decision] += 1
        self._by_group[name] += 1
        return False

    def _track(self, name: str, now: float) -> None:
        self._groups[name] = now
        if len(self._groups) > self._most:
            oldest, _ = self._groups.popitem(last=False)
            self._by_group.pop(oldest, None)

    @property
    def has_sum(self) -> bool:
        """Whether decisions were counted since the last call of take_sum."""
        return bool(self._decisions)

    def take_sum(self, kind: str) -> Sum:
        """The sum since the last call."""
        decisions, self._decisions = self._decisions, Counter()
        by_group, self._by_group = self._by_group, Counter()
        groups = dict(by_group.most_common(LIMITS.summed_groups))
        others = sum(decisions.values()) - sum(groups.values())
        return Sum(kind, decisions, groups, others, self.first, self._last)


class Sampler:
    """Decides which decisions are recorded, and sums up the others."""

    def __init__(self) -> None:
        self._kinds: dict[str, _Kind] = {}

    def admit(self, decision: Decision, group: Group, now: float) -> bool:
        """Whether this decision is recorded; if not, it is counted. `now`: CLOCK_BOOTTIME, s."""
        name, member = group
        kind = self._kinds.get(name)
        if kind is None:
            kind = self._kinds[name] = _Kind(PACES.get(name, DEFAULT), now)
        return kind.admit(decision, member, now)

    def take_sums(self, before: float) -> list[Sum]:
        """The sums that began at `before` (CLOCK_BOOTTIME, s) or earlier; each is returned once."""
        return [
            kind.take_sum(name)
            for name, kind in self._kinds.items()
            if kind.has_sum and kind.first <= before
        ]
