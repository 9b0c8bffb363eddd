"""The clock that is handed to everything that asks for the time.

Two times, never mixed: lifetimes are measured on CLOCK_BOOTTIME, which neither the administrator
nor NTP can set and which goes on while the machine sleeps (clock_gettime(2)); the wall clock only
dates signatures and log lines.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the time is: cores take one of these and never ask the system themselves."""

    def boottime(self) -> float:
        """Seconds since boot, suspend included."""

    def wall(self) -> float:
        """Seconds since 1970-01-01T00:00:00Z, as set by whoever sets this host's clock."""


class SystemClock:
    """This host's clocks."""

    def boottime(self) -> float:
        """Seconds since boot, suspend included (CLOCK_BOOTTIME, clock_gettime(2))."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall(self) -> float:
        """Seconds since the Unix epoch, UTC."""
        return time.time()
