"""Remembers the leases that are still live, so that no further push is needed.

This holds only for leases that allow any number of logins. A one-time key is pushed for each
connection.
"""

from __future__ import annotations

import os
import time

from agent.client import folders, limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agent.client.folders import Environment

# A clock that runs while the machine sleeps: its names on Linux and macOS (clock_gettime(2)).
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boottime() -> float:
    """Seconds since boot: the clock of a lease's lifetime."""
    return time.clock_gettime(_CLOCK)


class Lease:
    """The record of one push: credential, endpoint, user and key. It is not secret."""

    def __init__(self, environ: Environment, *which: str) -> None:
        import hashlib

        digest = hashlib.sha256("\0".join(which).encode()).hexdigest()[:32]
        self._path = os.path.join(folders.cache_folder(environ), f"lease-{digest}")

    def is_live(self, seconds: int) -> bool:
        """Whether a lease of this lifetime was pushed, and has enough time left for a login."""
        text = folders.read(self._path, 128) or ""
        try:
            booted, wall = map(float, text.split())
        except ValueError:
            return False
        # Compare both clocks: the boot clock restarts with the machine, the wall clock can be set.
        ages = boottime() - booted, time.time() - wall
        return all(0 <= age < seconds - limits.LEASE_SPARE_SECONDS for age in ages)

    def record_push(self, booted: float, wall: float) -> None:
        """Record a push whose request began at this time (both clocks, seconds)."""
        folders.write(self._path, f"{booted!r} {wall!r}\n")

    def forget(self) -> None:
        """Remove the record."""
        try:
            os.unlink(self._path)
        except OSError:
            pass


def forget_all(environ: Environment) -> None:
    """Remove every record."""
    folder = folders.cache_folder(environ)
    for name in os.listdir(folder):
        if name.startswith("lease-"):
            os.unlink(os.path.join(folder, name))
