"""A gateway's figures in Prometheus' text format."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping

from agent.audit.metrics import counter, family, gauge

# Upper bounds of the buckets, in seconds: a push takes some milliseconds, and 4 s at most.
BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Histogram:
    """How long pushes took, in seconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one more."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._sum += seconds

    def text(self, name: str, what: str) -> str:
        """The family: cumulative buckets, sum and count."""
        lines, total = [f"# HELP sixtykey_{name} {what}", f"# TYPE sixtykey_{name} histogram"], 0
        for bound, count in zip([*map(str, BOUNDS), "+Inf"], self._counts):
            total += count
            lines.append(f'sixtykey_{name}_bucket{{le="{bound}"}} {total}')
        lines += [f"sixtykey_{name}_sum {self._sum:.10g}", f"sixtykey_{name}_count {total}"]
        return "\n".join(lines) + "\n"


def text(
    version: str,
    counts: Counter[tuple[str, str]],
    latency: Histogram,
    bus: Mapping[str, float],
) -> str:
    """All figures, as Prometheus reads them.

    Args:
        counts: decisions by event and outcome, since the start.
        bus: `connected` (0 or 1), `connections` (made since the start), and `hosts`, if known.
    """
    pushes, made = _of("push", counts), {"made": int(bus["connections"])}
    refused = "Connections refused before a valid HTTP request, by error."
    connected = "1 if the gateway is connected to the bus, else 0."
    parts = [
        family("gateway_info", "gauge", "The running gateway.", [({"version": version}, 1)]),
        counter("gateway_pushes", "Pushes, by outcome.", pushes),
        counter("gateway_lists", "Lists of hosts, by outcome.", _of("hosts", counts)),
        counter("gateway_explanations", "Questions why, by outcome.", _of("explain", counts)),
        counter("gateway_http_refused", refused, _of("http", counts)),
        latency.text("gateway_push_seconds", "Seconds that accepted pushes took."),
        gauge("gateway_bus_connected", connected, bus["connected"]),
        counter("gateway_bus_connections", "Connections made to the bus since the start.", made),
    ]
    if "hosts" in bus:
        parts.append(gauge("gateway_hosts", "Hosts that are connected to the bus.", bus["hosts"]))
    for kind in ("join", "renew", "leave"):
        what = f"Hosts that asked to {kind}, by outcome."
        parts.append(counter(f"gateway_{kind}s", what, _of(f"fleet-{kind}", counts)))
    return "".join(parts)


def _of(event: str, counts: Counter[tuple[str, str]]) -> dict[str, int]:
    return {outcome: count for (kind, outcome), count in counts.items() if kind == event}
