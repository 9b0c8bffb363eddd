"""How many pushes a second are taken, and how fast anybody may guess."""

from __future__ import annotations

import cachetools

from agent.config.limits import LIMITS
from agent.config.settings import Rate
from agent.host.bucket import Bucket


class TooMany(Exception):
    """Too many in too short a time. `wait`: seconds until the next one is taken."""

    def __init__(self, words: str, wait: float) -> None:
        super().__init__(words)
        self.wait = wait


class Throttle:
    """Pushes a second: of each principal, and of this host altogether."""

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._total = Bucket.full(rate.total, rate.total, now)
        # As many as there are credentials and local users; a bound all the same.
        self._each: cachetools.LRUCache[str, Bucket] = cachetools.LRUCache(LIMITS.failure_sources)

    def take(self, principal: str, now: float) -> None:
        """Count one push of `principal`. `now`: CLOCK_BOOTTIME, s.

        Raises:
            TooMany: nothing was counted, and it says how long to wait.
        """
        own = self._each.get(principal)
        if own is None:
            own = Bucket.full(self._rate.per_credential, self._rate.per_credential, now)
            self._each[principal] = own
        wait = own.wait(now)
        if wait > 0.0:
            raise TooMany(
                f"These credentials have pushed more than {self._rate.per_credential} keys in a "
                "second. Wait a while and try again.",
                wait,
            )
        wait = self._total.wait(now)
        if wait > 0.0:
            raise TooMany(
                f"This host has been sent more than {self._rate.total} keys in a second. "
                "Wait a while and try again.",
                wait,
            )
        own.take()
        self._total.take()


class FailurePace:
    """Failures of one kind: the first few at once, then so many a second.

    Whoever is in debt is refused before anything is verified: a delayed answer would slow the
    answers down and not the guesses, which can be sent side by side.
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
        """Raise TooMany while `kind` has failed too often. `now`: CLOCK_BOOTTIME, s."""
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
