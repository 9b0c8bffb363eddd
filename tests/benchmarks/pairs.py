"""Interleaved pairs: two things are timed in turns, so the machine's load affects both alike."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Callable

Work = Callable[[], object]

FEWEST = 30
WARM_UP = 3


@dataclass(frozen=True)
class Spread:
    """Median, 10th and 90th percentile of measurements, in their unit."""

    p10: float
    median: float
    p90: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of two values or more."""
        tenths = statistics.quantiles(values, n=10, method="inclusive")
        return cls(round(tenths[0], 4), round(statistics.median(values), 4), round(tenths[8], 4))


@dataclass(frozen=True)
class Pairs:
    """The times of `pairs` runs of each. `ratio` is that of the medians: ours over the peer's."""

    pairs: int
    ours_ms: Spread
    peer_ms: Spread
    ratio: float
    pair_ratios: Spread

    @classmethod
    def of(cls, ours: Sequence[float], peer: Sequence[float]) -> Pairs:
        """Make it from seconds. Raises ValueError for too few pairs."""
        if not len(ours) == len(peer) >= FEWEST:
            raise ValueError(f"{len(ours)} and {len(peer)} runs; {FEWEST} pairs are the fewest")
        return cls(
            pairs=len(ours),
            ours_ms=Spread.of([each * 1000 for each in ours]),
            peer_ms=Spread.of([each * 1000 for each in peer]),
            ratio=round(statistics.median(ours) / statistics.median(peer), 4),
            pair_ratios=Spread.of([one / other for one, other in zip(ours, peer)]),
        )

    def detail(self) -> dict[str, Any]:
        """All values, for JSON."""
        return asdict(self)


def seconds(work: Work) -> float:
    """The seconds of one run."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def alternate(ours: Work, peer: Work, pairs: int) -> tuple[list[float], list[float]]:
    """Seconds of `pairs` runs of each after some warm-up runs; the first changes each time.

    Exceptions of a run are raised: a run that failed is no measurement.
    """
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(-WARM_UP, pairs):
        for which in (0, 1) if number % 2 else (1, 0):
            took = seconds((ours, peer)[which])
            if number >= 0:
                taken[which].append(took)
    return taken


def compare(ours: Work, peer: Work, pairs: int) -> Pairs:
    """Run both in turns and compare. Raises ValueError for fewer than 30 pairs."""
    return Pairs.of(*alternate(ours, peer, pairs))


def process(command: list[str], expected: bytes) -> Work:
    """Run a whole process without a shell, from spawning it to its end, and read its stdout.

    The returned function raises RuntimeError if the output differs or the status is not 0.
    """
    environment = {"PATH": "/usr/bin:/bin"}

    def work() -> None:
        reader, writer = os.pipe()
        try:
            actions = [(os.POSIX_SPAWN_DUP2, writer, 1)]
            pid = os.posix_spawn(command[0], command, environment, file_actions=actions)
        finally:
            os.close(writer)
        with open(reader, "rb", buffering=0) as out:
            printed = out.readall()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status or printed != expected:
            raise RuntimeError(f"{' '.join(command)}: status {status}, printed {printed!r}")

    return work
