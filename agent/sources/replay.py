"""Accepted pushes that could be presented again: a replay extends nothing.

A mark is remembered until the wall clock is 15 minutes past its date: until then, whoever captured
the offer could present it. Nothing is forgotten early. When a mark is forgotten its date becomes
the horizon: nothing unknown that is as old is taken any more, even if somebody sets the wall clock
back. A refused push is not remembered, for it granted nothing. docs/decisions/replay-memory.md.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from typing import Optional

from agent.config.limits import LIMITS
from agent.host.clock import Clock
from agent.leases.lease import AcceptedMark, Horizon, ReplayMark


class TooOld(Exception):
    """The offer is unknown, and dated at or before the horizon: it may be one that was accepted."""


class ReplayMemoryFull(Exception):
    """One more accepted push of this principal could not be remembered, so none is taken.

    `wait` is the time in seconds until the first of the marks in the way is forgotten.
    """

    def __init__(self, words: str, wait: float) -> None:
        super().__init__(words)
        self.wait = wait


class ReplayMemory:
    """The marks of accepted pushes. A new one has lost everything, until it is told otherwise.

    One principal may have as many marks as there is room left: each takes half of what the others
    leave at most, and so nobody is throttled because of one other.
    """

    def __init__(self, clock: Clock, limit: int = LIMITS.remembered_marks) -> None:
        self._clock = clock
        self._limit = limit
        self._accepted: dict[bytes, AcceptedMark] = {}
        self._by_date: list[tuple[float, bytes]] = []
        self._shares: Counter[str] = Counter()
        self._dated = float("-inf")
        # Whoever accepted pushes before ended over a second ago. SigV4 dates are whole seconds:
        # without this, what is signed in the second of the start would be refused.
        self._lost_at: Optional[float] = clock.boottime() - LIMITS.restart_seconds

    def __len__(self) -> int:
        """How many marks are remembered."""
        return len(self._accepted)

    @property
    def horizon(self) -> float:
        """The date (wall clock, s) at or before which nothing unknown is taken.

        The instant of a loss is kept on the boot clock and read on the wall clock of the moment:
        a wall clock that was behind at the loss lets nothing old in when it is set right, and one
        that was ahead keeps nobody out for longer.
        """
        if self._lost_at is None:
            return self._dated
        since = self._clock.boottime() - self._lost_at
        return max(self._dated, self._clock.wall() - since)

    @property
    def state(self) -> Horizon:
        """What has to outlive the process beside the marks."""
        return Horizon(self._dated, self._lost_at)

    def recall(self, mark: ReplayMark) -> Optional[str]:
        """The request id of the push that was accepted with this mark, or None for a new one.

        Raises:
            TooOld: it is unknown, and as old as marks that were forgotten or lost.
        """
        known = self._accepted.get(mark.digest)
        if known is not None:
            return known.request_id
        if mark.dated <= self.horizon:
            raise TooOld("it is as old as others that are no longer remembered")
        return None

    def check_room(self, principal: str) -> None:
        """Raise ReplayMemoryFull when no further push of `principal` could be remembered."""
        self.forget()
        if self._shares[principal] < self._limit - len(self._accepted):
            return
        oldest = self._by_date[0][0] if self._by_date else self._clock.wall()
        wait = oldest + LIMITS.clock_skew_seconds - self._clock.wall()
        raise ReplayMemoryFull(
            f"{self._shares[principal]} pushes of this principal, of {len(self._accepted)} in all,"
            " are remembered against replay: there is no room for more",
            max(wait, 1.0),
        )

    def remember(self, mark: ReplayMark, request_id: str, principal: str) -> None:
        """Recognise this mark from now on. An accepted push shows that the wall clock is right."""
        self._dated = self.horizon
        self._put(AcceptedMark(mark, request_id, principal))

    def restore(self, marks: Iterable[AcceptedMark]) -> None:
        """Recognise these, which an earlier process accepted."""
        for each in marks:
            self._put(each)

    def accepted(self) -> list[AcceptedMark]:
        """Every mark that is remembered."""
        return list(self._accepted.values())

    def resume(self, horizon: Horizon) -> None:
        """Everything is known that an earlier process of this boot knew, up to its own horizon."""
        self._dated, self._lost_at = max(self._dated, horizon.dated), horizon.lost_at

    def lose(self, lost_at: float) -> None:
        """What was accepted until `lost_at` (CLOCK_BOOTTIME, s) may be unknown."""
        self._lost_at = lost_at if self._lost_at is None else max(self._lost_at, lost_at)

    def forget(self) -> None:
        """Drop what cannot be valid any more: its date becomes the horizon."""
        ended = self._clock.wall() - LIMITS.clock_skew_seconds
        while self._by_date and self._by_date[0][0] < ended:
            dated, digest = heapq.heappop(self._by_date)
            self._dated = max(self._dated, dated)
            self._leave(self._accepted.pop(digest).principal)

    def _put(self, new: AcceptedMark) -> None:
        digest = new.mark.digest
        known = self._accepted.get(digest)
        if known is None:
            heapq.heappush(self._by_date, (new.mark.dated, digest))
        else:
            self._leave(known.principal)
        self._accepted[digest] = new
        self._shares[new.principal] += 1

    def _leave(self, principal: str) -> None:
        self._shares[principal] -= 1
        if not self._shares[principal]:
            del self._shares[principal]
