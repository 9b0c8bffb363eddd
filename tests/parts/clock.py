"""A clock that stands still until a test moves it."""

from __future__ import annotations


class ManualClock:
    """Boot time and wall time in seconds, moved by hand."""

    def __init__(self, boottime: float = 1000.0, wall: float = 1_800_000_000.0) -> None:
        self._boottime = boottime
        self._wall = wall

    def boottime(self) -> float:
        """Seconds since boot."""
        return self._boottime

    def wall(self) -> float:
        """Seconds since the Unix epoch."""
        return self._wall

    def advance(self, seconds: float) -> None:
        """Advance both clocks."""
        self._boottime += seconds
        self._wall += seconds

    def set_wall(self, wall: float) -> None:
        """Set the wall clock, as an administrator or NTP does; boot time is unchanged."""
        self._wall = wall

    def suspend(self, seconds: float) -> None:
        """Simulate a suspend: CLOCK_BOOTTIME goes on, and the wall clock is right after waking."""
        self.advance(seconds)
