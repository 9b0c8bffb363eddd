"""Counts failed starts, and makes the next start wait the longer the more have failed.

A killed daemon must be back at once, so systemd waits 100 ms; one that fails at every start would
then be started four times a second for ever. systemd 254 can increase its pause, but never resets
it for a daemon that has served for weeks. So each start is noted before it is tried, and the note
is removed once the daemon serves: whatever ends it before that counts, a crash in a library too.
Standard library only, because the launcher calls this first.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress

from agent.config.limits import LIMITS
from agent.host.systemd import Notifier


def wait_for_turn(environ: Mapping[str, str]) -> None:
    """Count a start, and wait as the number of failed starts requires."""
    failed, seconds = begin(environ, time.clock_gettime(time.CLOCK_BOOTTIME))
    if not seconds:
        return
    said = f"waiting {seconds:.1f} s, for the last {failed} starts have failed"
    sys.stderr.write(f"sixtykeyd: {said}\n")
    notifier = Notifier(environ)
    notifier.status(said)
    notifier.close()
    time.sleep(seconds)


def begin(environ: Mapping[str, str], now: float) -> tuple[int, float]:
    """Count a start at `now` (CLOCK_BOOTTIME, s).

    Without RUNTIME_DIRECTORY (systemd.exec(5)), as in a start by hand, nothing is counted.

    Returns:
        How many starts have failed in a row, and how long (s) this one has to wait.
    """
    path = _path(environ)
    failed, last = _read(path)
    pause = min(LIMITS.start_pause_most_seconds, LIMITS.start_pause_seconds * 2 ** (failed - 1))
    seconds = max(0.0, min(pause, last + pause - now)) if failed else 0.0
    if path:
        with suppress(OSError), open(path, "w", encoding="ascii") as file:
            file.write(f"{failed + 1} {now + seconds}")
    return failed, seconds


def succeed(environ: Mapping[str, str]) -> None:
    """Note that the daemon serves: the next start need not wait."""
    path = _path(environ)
    if path:
        with suppress(OSError):
            os.unlink(path)


def _path(environ: Mapping[str, str]) -> str:
    folder = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return f"{folder}/starts" if folder else ""


def _read(path: str) -> tuple[int, float]:
    """The number of failed starts and the time of the last; 0 if the file is absent or damaged."""
    try:
        with open(path, encoding="ascii") as file:
            failed, last = file.read(100).split()
        return min(max(0, int(failed)), 1000), float(last)
    except (OSError, ValueError):
        return 0, 0.0
