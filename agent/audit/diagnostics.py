"""Bounds how many diagnostics of one kind are written. No I/O; the time is an argument.

A peer can cause the same line again and again, such as a source that changes its health. It must
not fill the log, which has the audit too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import cachetools

from agent.config.limits import LIMITS
from agent.host.bucket import Bucket


@dataclass
class _Kind:
    """The bucket of one kind, and how many lines were left out since the last one."""

    bucket: Bucket
    left_out: int = 0


class DiagnosticsPace:
    """A token bucket for each kind of line; a kind is the format that all of its lines share."""

    def __init__(self) -> None:
        self._kinds: cachetools.LRUCache[str, _Kind] = cachetools.LRUCache(LIMITS.diagnostics_kinds)

    def admit(self, kind: str, now: float) -> Optional[int]:
        """How many lines were left out since the last one; None if this one must be left out too.

        `now`: a clock that is never set back, in s.
        """
        known = self._kinds.get(kind)
        if known is None:
            rate, burst = LIMITS.diagnostics_per_second, LIMITS.diagnostics_burst
            known = self._kinds[kind] = _Kind(Bucket.full(rate, burst, now))
        if known.bucket.wait(now) > 0.0:
            known.left_out += 1
            return None
        known.bucket.take()
        before, known.left_out = known.left_out, 0
        return before
