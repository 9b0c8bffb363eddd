"""Remembers accepted pushes, so that a replay extends no key's life.

A mark is remembered until the wall clock is 15 minutes past its date: so long a captured offer is
valid. Nothing is forgotten early. The date of a forgotten mark becomes the horizon: unknown marks
that are as old are refused, even if the wall clock is set back. A refused push is not remembered,
because it granted nothing. See docs/decisions/replay-memory.md.
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
    """The offer is unknown and dated at or before the horizon: it may have been accepted before."""


class ReplayMemoryFull(Exception):
    """Another push of this principal could not be remembered, so it is refused.

    `wait`: seconds until the oldest mark is forgotten.
    """

    def __init__(self, words: str, wait: float) -> None:
        super().__init__(words)
        self.wait = wait


class ReplayMemory:
    """The marks of accepted pushes. A new memory counts as having lost every mark, until `resume`.

    One principal may have at most as many marks as there is room left: half of what the others
    leave. So no single principal can throttle the others.
    """

    def __init__(self, clock: Clock, limit: int = LIMITS.remembered_marks) -> None:
        self._clock = clock
        self._limit = limit
        self._accepted: dict[bytes, AcceptedMark] = {}
        self._by_date: list[tuple[float, bytes]] = []
        self._shares: Counter[str] = Counter()
        self._dated = float("-inf")
        # The previous process ended over a second ago. SigV4 dates are whole seconds: without this,
        # requests signed in the second of the start would be refused.
        self._lost_at: Optional[float] = clock.boottime() - LIMITS.restart_seconds

    def __len__(self) -> int:
        """How many marks are remembered."""
        return len(self._accepted)

    @property
    def horizon(self) -> float:
        """The date (wall clock, s) at or before which unknown marks are refused.

        The time of a loss is kept on the boot clock and converted by the current wall clock: if the
        wall clock was behind at the loss and is corrected, nothing old is accepted; if it was
        ahead, nobody is refused for longer.
        """
        if self._lost_at is None:
            return self._dated
        since = self._clock.boottime() - self._lost_at
        return max(self._dated, self._clock.wall() - since)

    @property
    def state(self) -> Horizon:
        """What must be durable beside the marks."""
        return Horizon(self._dated, self._lost_at)

    def recall(self, mark: ReplayMark, principal: str) -> Optional[str]:
        """The request id of the push that was accepted with this mark, or None for a new one.

        A new one can be remembered until the caller's turn ends.

        Raises:
            TooOld: it is unknown, and as old as forgotten or lost marks.
            ReplayMemoryFull: it is new, and `principal` has no room for it.
        """
        known = self._accepted.get(mark.digest)
        if known is not None:
            return known.request_id
        if mark.dated <= self.horizon:
            raise TooOld("it is as old as others that are no longer remembered")
        self._check_room(principal)
        return None

    def remember(self, mark: ReplayMark, request_id: str, principal: str) -> None:
        """Recognise this mark from now on. An accepted push confirms the wall clock."""
        self._dated = self.horizon
        self._put(AcceptedMark(mark, request_id, principal))

    def restore(self, marks: Iterable[AcceptedMark]) -> None:
        """Recognise these marks, which an earlier process accepted."""
        for each in marks:
            self._put(each)

    def accepted(self) -> list[AcceptedMark]:
        """Every mark that is remembered."""
        return list(self._accepted.values())

    def resume(self, horizon: Horizon) -> None:
        """Adopt the horizon of an earlier process of this boot: all that it knew is known."""
        self._dated, self._lost_at = max(self._dated, horizon.dated), horizon.lost_at

    def forget(self) -> None:
        """Drop marks that are too old to be valid; the newest of these dates is the horizon."""
        ended = self._clock.wall() - LIMITS.clock_skew_seconds
        while self._by_date and self._by_date[0][0] < ended:
            dated, digest = heapq.heappop(self._by_date)
            self._dated = max(self._dated, dated)
            self._leave(self._accepted.pop(digest).principal)

    def _check_room(self, principal: str) -> None:
        """Raise ReplayMemoryFull if another push of `principal` could not be remembered."""
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
