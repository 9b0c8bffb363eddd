"""A token bucket: a burst, then a rate. The time is an argument."""

from __future__ import annotations

from dataclasses import dataclass


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
        """Seconds until one token is available; 0.0 if it is available now."""
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        return max(0.0, (1.0 - self.tokens) / self.rate)

    def take(self) -> None:
        """Use one token up."""
        self.tokens -= 1.0

    def put_back(self) -> None:
        """Return a token that was taken; `wait` keeps to the burst."""
        self.tokens += 1.0
