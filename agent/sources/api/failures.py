"""Limits attempts to guess a secret."""

from __future__ import annotations

import cachetools

from agent.config.limits import LIMITS
from agent.host.bucket import Bucket
from agent.sources.throttle import TooMany


class FailurePace:
    """Limits failures of each kind: a burst, then a rate.

    Beyond the limit a request is refused before anything is verified. To delay the answer instead
    would not slow the guesses down, which can be sent in parallel.
    """

    def __init__(
        self,
        rate: float = LIMITS.failures_per_second,
        burst: float = LIMITS.failures_burst,
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._kinds: cachetools.LRUCache[tuple[str, str], Bucket] = cachetools.LRUCache(
            LIMITS.failure_sources
        )

    def check(self, kind: tuple[str, str], now: float) -> None:
        """Raise TooMany if `kind` has failed too often. `now`: CLOCK_BOOTTIME, s."""
        bucket = self._kinds.get(kind)
        wait = 0.0 if bucket is None else bucket.wait(now)
        if wait > 0.0:
            raise TooMany("Too many failed attempts from this address. Wait a while.", wait)

    def count(self, kind: tuple[str, str], now: float) -> None:
        """Count a failure."""
        bucket = self._kinds.get(kind)
        if bucket is None:
            bucket = self._kinds[kind] = Bucket.full(self._rate, self._burst, now)
        bucket.wait(now)
        bucket.take()
