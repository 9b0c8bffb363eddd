"""The 99th percentile of lookup times while pushes arrive, and a plot against the load."""

from __future__ import annotations

import statistics
import time

from agent.lookup.server import END_MARK
from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.load import flood, one_lookup
from tests.benchmarks.plot import draw
from tests.benchmarks.serving import daemon
from tests.benchmarks.throughput import signed_pushes
from tests.faults.load import push_one
from tests.parts.host import ROOT

PLOT = ROOT / "build" / "lookup-latency.svg"
LOOKUPS = 1500
# Pauses between the pushes of one connection (s), from none to a push now and then; None: no push.
PAUSES = (None, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0)
RATE = {"push": {"rate": {"per_credential": 1_000_000, "total": 1_000_000}}}


def timed(path: str, count: int) -> list[float]:
    """Times of `count` lookups in milliseconds, with about one lookup every millisecond."""
    taken = []
    for _ in range(count):
        start = time.perf_counter()
        if len(one_lookup(path, b"watched\n")) <= len(END_MARK):
            raise RuntimeError("a lookup found nothing")
        taken.append((time.perf_counter() - start) * 1000)
        time.sleep(0.001)
    return taken


def percentile(values: list[float], percent: int) -> float:
    """A percentile, in the values' unit."""
    return round(statistics.quantiles(values, n=100, method="inclusive")[percent - 1], 3)


@figure
def lookup_p99_under_flood_ms() -> Figure:
    """Lookups while signed pushes arrive on three connections, as fast as they are answered."""
    points: list[dict[str, float]] = []
    with daemon(**RATE) as served:
        address = ("127.0.0.1", served.http_port)
        messages = signed_pushes(3000, "flooded")
        for pause in PAUSES:
            push_one(served, "watched")
            start = time.perf_counter()
            if pause is None:
                taken, pushed = timed(served.lookup_socket, LOOKUPS), 0
            else:
                parts = (messages[:1000], messages[1000:2000], messages[2000:])
                with (
                    flood(address, parts[0], pause) as one,
                    flood(address, parts[1], pause) as two,
                    flood(address, parts[2], pause) as three,
                ):
                    taken = timed(served.lookup_socket, LOOKUPS)
                pushed = one[0] + two[0] + three[0]
            points.append(
                {
                    "pushes_per_second": round(pushed / (time.perf_counter() - start), 1),
                    "p50_ms": percentile(taken, 50),
                    "p99_ms": percentile(taken, 99),
                    "worst_ms": round(max(taken), 3),
                }
            )
    PLOT.parent.mkdir(exist_ok=True)
    PLOT.write_text(draw(points), "utf-8")
    idle, flooded = points[0], points[-1]
    return Figure(
        "lookup_p99_under_flood_ms", flooded["p99_ms"], "ms",
        f"idle p99 {idle['p99_ms']} ms", {"by_load": points},
    )  # fmt: skip
