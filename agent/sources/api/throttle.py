"""Token buckets: how many pushes a second, and how slow guessing is."""

from __future__ import annotations

from dataclasses import dataclass

import cachetools

from agent.config.settings import LIMITS, Rate
from agent.sources.api.errors import ThrottlingException


@dataclass
class Bucket:
    """Tokens come at `rate` a second, up to `burst`; times are seconds of CLOCK_BOOTTIME."""

    rate: float
    burst: float
    tokens: float
    at: float

    @classmethod
    def full(cls, rate: float, burst: float, now: float) -> Bucket:
        """A bucket with all its tokens."""
        return cls(rate, burst, burst, now)

    def wait(self, now: float) -> float:
        """Seconds until one token is there; 0.0 when it is there now."""
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        return max(0.0, (1.0 - self.tokens) / self.rate)


class Throttle:
    """Pushes a second: of each credential, and of this host altogether."""

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._total = Bucket.full(rate.total, rate.total, now)
        # As many as there are credentials and local users; a bound all the same.
        self._each: cachetools.LRUCache[str, Bucket] = cachetools.LRUCache(LIMITS.failure_sources)

    def take(self, principal: str, now: float) -> None:
        """Count one push of `principal`. `now`: CLOCK_BOOTTIME, s.

        Raises:
            ThrottlingException: too many; nothing was counted, and it says how long to wait.
        """
        own = self._each.get(principal)
        if own is None:
            own = Bucket.full(self._rate.per_credential, self._rate.per_credential, now)
            self._each[principal] = own
        wait = own.wait(now)
        if wait > 0.0:
            raise ThrottlingException(
                f"These credentials have pushed more than {self._rate.per_credential} keys in a "
                "second. Wait a while and try again.",
                retry_after=wait,
            )
        wait = self._total.wait(now)
        if wait > 0.0:
            raise ThrottlingException(
                f"This host has been sent more than {self._rate.total} keys in a second. "
                "Wait a while and try again.",
                retry_after=wait,
            )
        own.tokens -= 1.0
        self._total.tokens -= 1.0


class FailurePace:
    """Failures from one source: the first few at once, then so many a second."""

    def __init__(
        self,
        rate: float = LIMITS.failures_per_second,
        burst: float = LIMITS.failures_burst,
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._sources: cachetools.LRUCache[str, Bucket] = cachetools.LRUCache(
            LIMITS.failure_sources
        )

    def delay(self, source: str, now: float) -> float:
        """Count a failure; how many seconds its answer has to wait. `now`: CLOCK_BOOTTIME, s."""
        bucket = self._sources.get(source)
        if bucket is None:
            bucket = self._sources[source] = Bucket.full(self._rate, self._burst, now)
        wait = min(bucket.wait(now), LIMITS.failure_delay_seconds)
        # No deeper in debt than the longest wait: a flood is over when it is over.
        bucket.tokens = max(bucket.tokens - 1.0, -LIMITS.failure_delay_seconds * self._rate)
        return wait
