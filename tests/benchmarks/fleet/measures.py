"""The measurements of a cluster, each with its peer in the same run."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence
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
    """Times from push to durable, in turns through the gateway and directly to the same host.

    The pushes go to two real hosts at random, one after the other, while all others are connected.
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
    """Pushes a second through the gateway to simulated hosts, and directly to one real host.

    The first push to a host costs the gateway more, because it verifies the host's certificate. So
    hosts that it knows and hosts that are new to it are measured separately.
    """
    instances, each = cluster.simulation.instances(), pushes // rounds
    random.shuffle(instances)
    known, new = instances[:200], instances[200:]
    throughput(cluster.gateway, signed_pushes(known, 2 * len(known)))
    member = cluster.members[0]
    ours, fresh, peers = [], [], []
    for _ in range(rounds):
        ours.append(throughput(cluster.gateway, signed_pushes(known, each)))
        fresh.append(throughput(cluster.gateway, signed_pushes(new, each)))
        straight = signed_pushes([member.instance], each)
        used, began = processor_seconds(member.daemon.pid), time.perf_counter()
        requests(("127.0.0.1", member.daemon.http_port), straight)
        used = processor_seconds(member.daemon.pid) - used
        peers.append((each / (time.perf_counter() - began), each / used))
    return {
        "gateway_per_core": statistics.median(one.by_core for one in ours),
        "gateway_per_core_to_new_hosts": statistics.median(one.by_core for one in fresh),
        "gateway_by_clock": statistics.median(one.by_clock for one in ours),
        "host_per_core": round(statistics.median(one[1] for one in peers), 1),
        "host_by_clock": round(statistics.median(one[0] for one in peers), 1),
    }


def killed_server(cluster: Cluster) -> dict[str, float]:
    """Kill a server with its share of hosts; measure until each of these answers again."""
    began = time.monotonic()
    cluster.bus.servers[-1].kill()
    lost: list[str] = []
    # All of them notice at the same moment, and none is back before most have noticed.
    while len(found := cluster.simulation.missing()) > len(lost) or not found:
        lost = found
        if time.monotonic() > began + PATIENCE:
            raise RuntimeError("nobody was at the server that was killed")
    return {"lost": float(len(lost)), **_until_reached(cluster, began, lost)}


def everybody_at_once(cluster: Cluster) -> dict[str, float]:
    """Kill and restart all servers; measure until all hosts answer again."""
    for server in cluster.bus.servers:
        if server.process is not None and server.process.poll() is None:
            server.kill()
    for server in cluster.bus.servers:
        server.start()
    return _until_reached(cluster, time.monotonic(), cluster.simulation.instances())


def _until_reached(cluster: Cluster, began: float, hosts: Sequence[str]) -> dict[str, float]:
    """The seconds from `began` until all are connected, and until each of these has answered.

    The second figure includes the time of asking them.
    """
    cluster.simulation.await_all(PATIENCE)
    connected = time.monotonic() - began
    sweep(cluster, hosts, PATIENCE)
    reached = time.monotonic() - began
    return {"connected_s": round(connected, 1), "all_answered_s": round(reached, 1)}


def memory(cluster: Cluster, hosts: int) -> float:
    """The servers' memory for each connection in kB, from the growth between few and many hosts."""
    cluster.grow(100 * len(cluster.bus.servers))
    cluster.settle()
    before, few = cluster.resident_mib(), cluster.simulation.count
    cluster.grow(hosts)
    cluster.settle()
    return round((cluster.resident_mib() - before) * 1024 / (cluster.simulation.count - few), 1)
