"""Accepted offers: a replay gets the same answer, and extends nothing.

A signature stays valid for 15 minutes either side of its date, so it is remembered until the wall
clock is past that. Nothing is forgotten early: without room, pushes are throttled. When a mark is
forgotten, its date becomes the horizon: nothing that old is taken any more, even if somebody sets
the wall clock back.
"""

from __future__ import annotations

import heapq
from typing import Optional

from agent.config.settings import LIMITS
from agent.leases.lease import ReplayMark


class TooOld(Exception):
    """The offer is as old as others that were forgotten, so it may be one of them."""


class ReplayMemoryFull(Exception):
    """One more offer could not be remembered. `wait`: seconds until there is room."""

    def __init__(self, words: str, wait: float) -> None:
        super().__init__(words)
        self.wait = wait


class ReplayMemory:
    """The request id of each accepted offer that could still be presented again."""

    def __init__(self, limit: int = LIMITS.remembered_requests) -> None:
        self._limit = limit
        self._accepted: dict[bytes, str] = {}
        self._by_date: list[tuple[float, bytes]] = []
        self._horizon = float("-inf")

    def __len__(self) -> int:
        """How many offers are remembered."""
        return len(self._accepted)

    def recall(self, mark: ReplayMark) -> Optional[str]:
        """The request id that this offer got before, or None for a new one. Raises TooOld."""
        request_id = self._accepted.get(mark.digest)
        if request_id is None and mark.dated <= self._horizon:
            raise TooOld("The request is as old as others that have expired. Sign it anew.")
        return request_id

    def check_room(self, principal: str, now: float) -> None:  # noqa: ARG002
        """Raise ReplayMemoryFull when one more could not be remembered. `now`: wall clock, s."""
        self.forget(now)
        if len(self._accepted) >= self._limit:
            wait = self._by_date[0][0] + LIMITS.clock_skew_seconds - now
            raise ReplayMemoryFull(
                "This host has answered as many requests as it can remember against replay. "
                "Wait a while and try again.",
                max(wait, 1.0),
            )

    def remember(self, mark: ReplayMark, request_id: str, principal: str) -> None:  # noqa: ARG002
        """Answer this offer so from now on."""
        if mark.digest not in self._accepted:
            heapq.heappush(self._by_date, (mark.dated, mark.digest))
        self._accepted[mark.digest] = request_id

    def lose(self, now: float) -> None:
        """What was taken till `now` (wall clock, s) may be missing: nothing as old is taken."""
        self._horizon = max(self._horizon, now)

    def forget(self, now: float) -> None:
        """Drop what cannot be valid any more at `now` (wall clock, s)."""
        while self._by_date and self._by_date[0][0] + LIMITS.clock_skew_seconds < now:
            self._horizon, digest = heapq.heappop(self._by_date)
            del self._accepted[digest]
