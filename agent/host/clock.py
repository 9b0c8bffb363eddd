"""The clock that is passed to everything that needs the time.

Two clocks, never mixed: lifetimes are measured on CLOCK_BOOTTIME, which neither the administrator
nor NTP can set and which goes on while the machine sleeps (clock_gettime(2)); the wall clock is
only for the dates of signatures and log lines.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time; cores use one of these and never the system's clock."""

    def boottime(self) -> float:
        """Seconds since boot, suspend included."""

    def wall(self) -> float:
        """Seconds since the Unix epoch by this host's wall clock, which may be wrong, or set."""


class SystemClock:
    """This host's clocks."""

    def boottime(self) -> float:
        """Seconds since boot, suspend included (CLOCK_BOOTTIME, clock_gettime(2))."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall(self) -> float:
        """Seconds since the Unix epoch, UTC."""
        return time.time()
