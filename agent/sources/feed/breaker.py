"""A circuit breaker: after several failures in a row, attempts pause; then one attempt decides."""

from __future__ import annotations

from typing import Callable

from agent.config.limits import LIMITS
from agent.host.clock import Clock


class Breaker:
    """Closed: attempts are made. Open: none, until the pause is over; then one attempt decides.

    Args:
        report: called with a message when it opens and when it closes.
    """

    def __init__(self, clock: Clock, report: Callable[[str], None]) -> None:
        self._clock = clock
        self._report = report
        self._failures = 0
        self._rest = 0.0
        self._until = 0.0
        self._trying = False

    @property
    def is_open(self) -> bool:
        """Whether it is open, or one attempt is being made."""
        return self._rest > 0.0

    @property
    def wait(self) -> float:
        """Seconds until the pause is over; 0.0 if there is none."""
        return max(self._until - self._clock.boottime(), 0.0) if self.is_open else 0.0

    def admits(self) -> bool:
        """Whether an attempt may be made now; the caller must then report its outcome."""
        if not self.is_open:
            return True
        if self._trying or self._clock.boottime() < self._until:
            return False
        self._trying = True
        return True

    def succeed(self) -> None:
        """Report that an attempt succeeded."""
        if self.is_open:
            self._report("it answers again")
        self.reset()

    def reset(self) -> None:
        """Close it: there is a new source."""
        self._failures, self._rest, self._trying = 0, 0.0, False

    def fail(self, why: str) -> None:
        """Report that an attempt failed."""
        self._failures += 1
        if self._failures < LIMITS.pull_failures:
            return
        if not self.is_open:
            self._report(
                f"{self._failures} requests in a row failed, the last one because: {why}; no "
                "lookup waits for it until it answers again"
            )
        self._rest = min(
            max(self._rest * 2, LIMITS.pull_rest_seconds), LIMITS.pull_longest_rest_seconds
        )
        self._until = self._clock.boottime() + self._rest
        self._trying = False
