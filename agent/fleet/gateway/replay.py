"""A gateway's memory of pushes that hosts have acknowledged.

Only the host knows whether a push was taken before, since another gateway may have sent it. The
memory here only saves the host, and the principal's rate, a flood of repetitions.
"""

from __future__ import annotations

from typing import Optional

import cachetools

from agent.config.limits import LIMITS
from agent.leases.lease import ReplayMark


class AnsweredPushes:
    """The latest acknowledged pushes, by their marks."""

    def __init__(self) -> None:
        self._taken: cachetools.LRUCache[bytes, str] = cachetools.LRUCache(LIMITS.remembered_marks)

    def recall(self, mark: ReplayMark, principal: str) -> Optional[str]:
        """The request id under which this offer was taken before, if it is remembered here."""
        del principal  # for each there is room: old marks may be forgotten here
        return self._taken.get(mark.digest)

    def remember(self, mark: ReplayMark, request_id: str) -> None:
        """Recognise this mark, as long as there is room."""
        self._taken[mark.digest] = request_id
