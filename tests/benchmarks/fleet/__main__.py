"""`python -m tests.benchmarks.fleet [--hosts N]`: measure, print, write build/bench-fleet.json.

Ends with 1 when a measurement failed; a missed target is printed, and is not a failure.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any, Callable

from tests.benchmarks.__main__ import machine
from tests.benchmarks.fleet import measures
from tests.benchmarks.fleet.cluster import Cluster, servers_for
from tests.benchmarks.fleet.plot import draw
from tests.parts.host import ROOT

RESULTS, PLOT = ROOT / "build" / "bench-fleet.json", ROOT / "build" / "fleet-latency.svg"
SIZES = (100, 1_000, 10_000, 100_000)
# With TLS a connection takes several times the memory on both ends: this many are enough.
WITH_TLS = 12_000


def main() -> int:
    """Measure; return the exit status."""
    parser = argparse.ArgumentParser(prog="tests.benchmarks.fleet")
    parser.add_argument("--hosts", type=int, default=SIZES[-1], help="the most (default 100,000)")
    hosts = parser.parse_args().hosts
    results: dict[str, Any] = {"machine": machine()}
    say(**results["machine"])
    results.update(large(hosts))
    results["with_tls"] = secure(min(hosts, WITH_TLS))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    PLOT.write_text(draw(results["latency"]))
    judge(results)
    return 0


def large(hosts: int) -> dict[str, Any]:
    """All figures but memory with TLS, of one growing cluster; servers and hosts without TLS."""
    found: dict[str, Any] = {"latency": [], "servers": servers_for(hosts), "hosts": hosts}
    with Cluster(found["servers"], tls=False) as cluster:
        # The cluster grows from few hosts to all, and its memory is measured in between.
        before = 0.0
        for size in [each for each in SIZES if each < hosts] + [hosts]:
            took = cluster.grow(size)
            cluster.settle()
            before = before or cluster.resident_mib() * 1024
            point = measures.latency(cluster)
            found["latency"].append(point)
            say(size=size, connected_within_s=round(took, 1), **point)
        grown = cluster.resident_mib() * 1024 - before
        found["memory_kb"] = round(grown / (cluster.simulation.count - SIZES[0]), 1)
        say(memory_kb_for_a_connection=found["memory_kb"])
        for name, measure in (
            ("rates", measures.rates),
            ("killed_server", measures.killed_server),
            ("everybody_at_once", measures.everybody_at_once),
        ):
            found[name] = attempt(measure, cluster)
            say(measured=name, **found[name])
    return found


def attempt(measure: Callable[[Cluster], dict[str, Any]], cluster: Cluster) -> dict[str, Any]:
    """Return the measurement; a failure is reported, and the other figures are still measured."""
    try:
        return measure(cluster)
    except RuntimeError as error:
        return {"failed": str(error)}


def secure(hosts: int) -> dict[str, Any]:
    """Memory with TLS, and the storms with their handshakes, on three servers."""
    with Cluster(3, tls=True, members=False) as cluster:
        found: dict[str, Any] = {"hosts": hosts, "memory_kb": measures.memory(cluster, hosts)}
        cluster.simulation.drop()
        began = time.monotonic()
        cluster.simulation.await_all(measures.PATIENCE)
        found["everybody_at_once_s"] = round(time.monotonic() - began, 1)
    say(measured="with_tls", **found)
    return found


def judge(results: dict[str, Any]) -> None:
    """Each of the fleet's targets, and whether it is met here."""
    last, never = results["latency"][-1], float("inf")
    rate = results["rates"].get("gateway_per_core", 0.0)
    took = results["killed_server"].get("all_answered_s", never)
    for words, value, met in (
        ("push to durable, p99 <= 50 ms", last["fleet_p99_ms"], last["fleet_p99_ms"] <= 50),
        ("<= 3 times a direct push, p99", last["p99_ratio"], last["p99_ratio"] <= 3),
        (">= 1,500 pushes a second for each gateway core", rate, rate >= 1500),
        ("a killed server's hosts reachable within 30 s", took, took <= 30),
    ):
        print(f"{'met' if met else 'MISSED':<7} {value:>9} {words}", flush=True)


def say(**found: Any) -> None:
    """Print a line at once."""
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    sys.exit(main())
