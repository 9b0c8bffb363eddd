"""Requests that were answered: a replay gets the same answer, and extends nothing.

A signature stays valid for 15 minutes either side of its date, so it is remembered until the wall
clock is past that. Nothing is forgotten early: without room, pushes are throttled. When a mark is
forgotten, its date becomes the horizon: nothing that old is taken any more, even if somebody sets
the wall clock back.
"""

from __future__ import annotations

import heapq
from typing import Generic, Optional, TypeVar

from agent.config.settings import LIMITS
from agent.leases.lease import SignedRequest
from agent.sources.api.errors import RequestExpired, ThrottlingException

Answer = TypeVar("Answer")


class AnsweredRequests(Generic[Answer]):
    """What was answered to each signed request that could still be presented again."""

    def __init__(self, limit: int = LIMITS.remembered_requests) -> None:
        self._limit = limit
        self._answers: dict[bytes, Answer] = {}
        self._by_date: list[tuple[float, bytes]] = []
        self._horizon = float("-inf")

    def __len__(self) -> int:
        """How many requests are remembered."""
        return len(self._answers)

    def recall(self, signed: SignedRequest) -> Optional[Answer]:
        """The answer that this request got before, or None for a new one.

        Raises:
            RequestExpired: it is as old as requests that were forgotten, so it may be one of them.
        """
        answer = self._answers.get(signed.mark)
        if answer is None and signed.signed_at <= self._horizon:
            raise RequestExpired("The request is as old as others that have expired. Sign it anew.")
        return answer

    def check_room(self, now: float) -> None:
        """Raise ThrottlingException when one more could not be remembered. `now`: wall clock, s."""
        self.forget(now)
        if len(self._answers) >= self._limit:
            wait = self._by_date[0][0] + LIMITS.clock_skew_seconds - now
            raise ThrottlingException(
                "This host has answered as many requests as it can remember against replay. "
                "Wait a while and try again.",
                retry_after=max(wait, 1.0),
            )

    def remember(self, signed: SignedRequest, answer: Answer) -> None:
        """Answer this request so from now on."""
        if signed.mark not in self._answers:
            heapq.heappush(self._by_date, (signed.signed_at, signed.mark))
        self._answers[signed.mark] = answer

    def lose(self, now: float) -> None:
        """What was answered till `now` (wall clock, s) may be missing: nothing as old is taken."""
        self._horizon = max(self._horizon, now)

    def forget(self, now: float) -> None:
        """Drop what cannot be valid any more at `now` (wall clock, s)."""
        while self._by_date and self._by_date[0][0] + LIMITS.clock_skew_seconds < now:
            self._horizon, mark = heapq.heappop(self._by_date)
            del self._answers[mark]
