"""The daemon's cost: memory when idle, memory for each key, and the time to start."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence

from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.helper import SYSTEM_PYTHON
from tests.benchmarks.pairs import Spread
from tests.benchmarks.serving import PLAIN, daemon
from tests.faults.load import pusher, resident_mib
from tests.parts.daemon import RunningDaemon
from tests.parts.host import work_directory

STARTS = 15
# As in the unit: the daemon has two threads, and does not need an arena for each.
AS_INSTALLED = {"MALLOC_ARENA_MAX": "1"}
LEASES = 10_000


@figure
def start_to_ready_ms() -> Figure:
    """The time from exec to READY=1, with everything on and an empty journal; byte-compiled."""
    taken: list[float] = []
    with work_directory() as folder:
        served = RunningDaemon(folder, environment=PLAIN)
        for _ in range(STARTS):
            start = time.perf_counter()
            served.start()
            taken.append((time.perf_counter() - start) * 1000)
            served.stop()
    return Figure(
        "start_to_ready_ms", round(statistics.median(taken[1:]), 1), "ms", "target 300",
        {"ms": vars(Spread.of(taken[1:]))},
    )  # fmt: skip


def _idle(name: str, prefix: Sequence[str], detail: dict[str, str]) -> Figure:
    environment = {**PLAIN, **AS_INSTALLED}
    with (
        work_directory() as folder,
        RunningDaemon(folder, environment=environment, prefix=prefix) as served,
    ):
        # The first start compiles, and what that takes stays with the process.
        served.stop()
        served.start()
        time.sleep(0.5)
        value = resident_mib(served.pid)
        kinds = _memory_kinds(served.pid)
    return Figure(name, round(value, 1), "MiB", "target 36", {**kinds, **detail})


@figure
def rss_idle_mib() -> Figure:
    """Resident memory before any request, with a distribution's packages; byte-compiled."""
    # The part uses the suite's interpreter; this one replaces it.
    prefix = ["sh", "-c", f'shift; exec {SYSTEM_PYTHON} "$@"', "sh"]
    return _idle("rss_idle_mib", prefix, {"python": SYSTEM_PYTHON})


@figure
def rss_idle_mib_of_the_suite() -> Figure:
    """The same with this interpreter and PyPI's wheels, which bundle libraries."""
    return _idle("rss_idle_mib_of_the_suite", (), {"python": sys.executable})


def _memory_kinds(pid: int) -> dict[str, float]:
    """Anonymous memory and file pages (libraries) in MiB (proc(5), status)."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        fields = dict(line.split(":", 1) for line in status)
    return {name: round(int(fields[name].split()[0]) / 1024, 1) for name in ("RssAnon", "RssFile")}


@figure
def rss_bytes_per_lease() -> Figure:
    """Memory for each of 10,000 live Ed25519 keys of 1,000 users, with table and history."""
    with daemon() as served, pusher(served) as one:
        for number in range(1000):
            one.push(f"warm{number}")
        before = resident_mib(served.pid)
        for number in range(LEASES):
            one.push(f"user{number % 1000}")
        grown = (resident_mib(served.pid) - before) * 1024 * 1024 / LEASES
    return Figure("rss_bytes_per_lease", round(grown), "bytes", "target 2048", {"leases": LEASES})
