"""Calls at a steady rate, each timed from the moment at which it was due.

A closed loop sends the next push only after an answer, so a stall of a second costs it one slow
push instead of all that were due meanwhile ("coordinated omission"). Here a late push delays the
next one of its lane, and both are counted from when they were due.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

Calls = Sequence[Callable[[], None]]
# The share of calls at the beginning that is not counted: connections and caches are cold.
COLD = 0.05


@dataclass(frozen=True)
class Lane:
    """Calls one after the other: the first is due after `first` s, then one every `interval` s."""

    calls: Calls
    first: float
    interval: float

    def run(self, began: float) -> list[float]:
        """Make the calls; return the milliseconds from each due time to its end."""
        taken = []
        for number, call in enumerate(self.calls):
            due = began + self.first + number * self.interval
            time.sleep(max(0.0, due - time.perf_counter()))
            call()
            taken.append((time.perf_counter() - due) * 1000)
        return taken[int(len(taken) * COLD) :]


def paced(courses: Mapping[str, Sequence[Calls]], rate: float) -> dict[str, list[float]]:
    """Make all courses' calls at the same time, each course `rate` calls a second.

    A course has several lanes, as an endpoint has several clients: one slow call delays its own
    lane only. Returns each course's milliseconds. What a call raises ends it all.
    """
    each = [
        (name, Lane(calls, (number + place / len(courses)) / rate, len(lanes) / rate))
        for place, (name, lanes) in enumerate(courses.items())
        for number, calls in enumerate(lanes)
    ]
    taken: dict[str, list[float]] = {name: [] for name in courses}
    began = time.perf_counter() + 0.1
    with ThreadPoolExecutor(len(each)) as pool:
        running = [(name, pool.submit(lane.run, began)) for name, lane in each]
        for name, done in running:
            taken[name] += done.result()
    return taken


class Busy:
    """The share of this machine's processor time that was used since it was made (proc(5))."""

    def __init__(self) -> None:
        self._idle, self._all = _times()

    def share(self) -> float:
        """From 0 to 1, all processors together."""
        idle, total = _times()
        return round(1 - (idle - self._idle) / max(1, total - self._all), 2)


def _times() -> tuple[int, int]:
    """Ticks of all processors since the start: idle, and all."""
    fields = [
        int(each) for each in Path("/proc/stat").read_text("ascii").splitlines()[0].split()[1:9]
    ]
    return fields[3] + fields[4], sum(fields)
