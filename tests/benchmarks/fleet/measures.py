"""What is measured of a cluster, each beside its peer in the same run."""

from __future__ import annotations

import random
import statistics
import time
from contextlib import ExitStack
from typing import Any

from tests.benchmarks.fleet.cluster import REAL, Cluster
from tests.benchmarks.fleet.load import Course, processor_seconds, signed_pushes, throughput
from tests.benchmarks.fleet.sweep import sweep
from tests.benchmarks.latency import percentile
from tests.benchmarks.load import requests

PUSHES, LOAD = 1500, 4000
# How long (s) hosts may take to be connected again before the run fails; the target is 30.
PATIENCE = 240.0


def latency(cluster: Cluster, pushes: int = PUSHES) -> dict[str, float]:
    """Push to durable in turns: through the gateway, and straight to the same host.

    One after the other, to the two real hosts by chance, while all the others are connected.
    """
    each = {instance: signed_pushes([instance], pushes) for instance in REAL}
    pushes -= pushes % len(REAL)
    names = [*REAL] * (pushes // len(REAL))
    random.shuffle(names)
    members = {member.instance: member for member in cluster.members}
    with ExitStack() as stack:
        fleet = Course.through(stack, cluster.gateway)
        direct = {
            name: Course.direct(stack, member.daemon.http_port) for name, member in members.items()
        }
        for number, name in enumerate(names):
            turns = [fleet, direct[name]]
            random.shuffle(turns)
            for course in turns:
                course.push(each[name].pop())
            if number == pushes // 20:
                for course in (fleet, *direct.values()):
                    course.milliseconds.clear()
        straight = [value for course in direct.values() for value in course.milliseconds]
        through = fleet.milliseconds
    return {
        "hosts": float(cluster.simulation.count),
        **{f"fleet_p{each}_ms": percentile(through, each) for each in (50, 99)},
        **{f"direct_p{each}_ms": percentile(straight, each) for each in (50, 99)},
        "p99_ratio": round(percentile(through, 99) / percentile(straight, 99), 2),
        "p50_ratio": round(percentile(through, 50) / percentile(straight, 50), 2),
    }


def rates(cluster: Cluster, pushes: int = LOAD, rounds: int = 4) -> dict[str, Any]:
    """Pushes a second through the gateway to simulated hosts, and straight to one real host."""
    instances = cluster.simulation.instances()
    member = cluster.members[0]
    ours, peers = [], []
    for _ in range(rounds):
        ours.append(throughput(cluster.gateway, signed_pushes(instances, pushes // rounds)))
        straight = signed_pushes([member.instance], pushes // rounds)
        used, began = processor_seconds(member.daemon.pid), time.perf_counter()
        requests(("127.0.0.1", member.daemon.http_port), straight)
        used = processor_seconds(member.daemon.pid) - used
        took = time.perf_counter() - began
        peers.append((len(straight) / took, len(straight) / used))
    return {
        "gateway_per_core": statistics.median(each.by_core for each in ours),
        "gateway_by_clock": statistics.median(each.by_clock for each in ours),
        "host_per_core": round(statistics.median(each[1] for each in peers), 1),
        "host_by_clock": round(statistics.median(each[0] for each in peers), 1),
    }


def killed_server(cluster: Cluster) -> dict[str, float]:
    """Kill a server with its share of hosts: how long until each of them answers again."""
    began = time.monotonic()
    cluster.bus.servers[-1].kill()
    lost = cluster.simulation.count - cluster.simulation.up
    while lost < cluster.simulation.count // len(cluster.bus.servers) // 2:
        lost = max(lost, cluster.simulation.count - cluster.simulation.up)
    return {"lost": float(lost), **_until_reached(cluster, began)}


def everybody_at_once(cluster: Cluster) -> dict[str, float]:
    """Kill all servers, and start them again: how long until all hosts answer again."""
    for server in cluster.bus.servers:
        if server.process is not None and server.process.poll() is None:
            server.kill()
    for server in cluster.bus.servers:
        server.start()
    return _until_reached(cluster, time.monotonic())


def _until_reached(cluster: Cluster, began: float) -> dict[str, float]:
    cluster.simulation.await_all(PATIENCE)
    connected = time.monotonic() - began
    sweep(cluster, cluster.simulation.instances(), PATIENCE)
    reached = time.monotonic() - began
    return {"connected_s": round(connected, 1), "all_answered_s": round(reached, 1)}


def memory(cluster: Cluster, hosts: int) -> float:
    """The servers' memory for each connection, in kB: from few hosts to so many."""
    cluster.grow(100 * len(cluster.bus.servers))
    cluster.settle()
    before, few = cluster.resident_mib(), cluster.simulation.count
    cluster.grow(hosts)
    cluster.settle()
    return round((cluster.resident_mib() - before) * 1024 / (cluster.simulation.count - few), 1)
