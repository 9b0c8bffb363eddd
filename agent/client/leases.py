"""Remembers which pushes are still good, so that a live lease is not pushed for again.

Only where a lease is known to be good for any number of logins; a key that counts once is pushed
for each connection.
"""

from __future__ import annotations

import os
import time

from agent.client import folders, limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agent.client.folders import Environment

# Time that goes on while the machine sleeps: Linux's name for it, and macOS's (clock_gettime(2)).
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boottime() -> float:
    """Seconds since boot, the time that leases live by."""
    return time.clock_gettime(_CLOCK)


class Lease:
    """One push: by whom, where to, for whom, and with which key. Not secret, so it has a file."""

    def __init__(self, environ: Environment, *which: str) -> None:
        import hashlib

        digest = hashlib.sha256("\0".join(which).encode()).hexdigest()[:32]
        self._path = os.path.join(folders.passing(environ), f"lease-{digest}")

    def is_live(self, seconds: int) -> bool:
        """Whether a lease of this length was pushed, and has enough left for a login."""
        text = folders.read(self._path, 128) or ""
        try:
            booted, wall = map(float, text.split())
        except ValueError:
            return False
        # By both clocks: one starts anew with the machine, the other can be set.
        ages = boottime() - booted, time.time() - wall
        return all(0 <= age < seconds - limits.LEASE_SPARE_SECONDS for age in ages)

    def pushed(self, booted: float, wall: float) -> None:
        """It was pushed, and the request began at this time (both clocks, seconds)."""
        folders.write(self._path, f"{booted!r} {wall!r}\n")

    def forget(self) -> None:
        """It does not count any more."""
        try:
            os.unlink(self._path)
        except OSError:
            pass


def forget_all(environ: Environment) -> None:
    """Remove every record."""
    folder = folders.passing(environ)
    for name in os.listdir(folder):
        if name.startswith("lease-"):
            os.unlink(os.path.join(folder, name))
