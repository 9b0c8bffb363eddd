"""Limits pushes per second."""

from __future__ import annotations

import cachetools

from agent.config.limits import LIMITS
from agent.config.settings import Rate
from agent.host.bucket import Bucket


class TooMany(Exception):
    """Too many in a short time. `wait`: seconds until the next one is accepted."""

    def __init__(self, words: str, wait: float) -> None:
        super().__init__(words)
        self.wait = wait


class Throttle:
    """Limits pushes per second, for each principal and for this host in total."""

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._total = Bucket.full(rate.total, rate.total, now)
        # One for each credential or local user; bounded in any case.
        self._each: cachetools.LRUCache[str, Bucket] = cachetools.LRUCache(LIMITS.failure_sources)

    def take(self, principal: str, now: float) -> None:
        """Count one push of `principal`. `now`: CLOCK_BOOTTIME, s.

        Raises:
            TooMany: the limit is reached; nothing was counted.
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
