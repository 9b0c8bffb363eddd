"""The measurements of a cluster, each with its peer in the same run."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from tests.benchmarks.fleet.asker import Asker
from tests.benchmarks.fleet.cluster import Cluster
from tests.benchmarks.fleet.load import pusher, signed_pushes, throughput
from tests.benchmarks.fleet.pace import Busy, Calls, paced
from tests.benchmarks.fleet.sweep import sweep
from tests.benchmarks.latency import percentile

PUSHES, LOAD = 3000, 4000
# Pushes a second through the fleet, and as many directly: 3,000 logins a minute, and a load that
# this machine bears. LANES clients send them. Throughput is a figure of its own.
RATE, LANES = 50.0, 4
# How long (s) hosts may take to be connected again before the run fails; the target is 30.
PATIENCE = 240.0


def latency(cluster: Cluster, pushes: int = PUSHES) -> dict[str, float]:
    """Times from push to durable at RATE a second, through the gateway and directly, over TLS.

    Both go to the two real hosts, at the same time, while all others are connected. As many
    questions to simulated hosts, without gateway and signatures, show what the bus alone takes.
    """
    members = {member.instance: member for member in cluster.members}
    instances = [*members] * (LANES // len(members))
    each = [signed_pushes([instance], pushes // LANES) for instance in instances for _ in "gd"]
    with ExitStack() as stack:
        courses: dict[str, list[Calls]] = {"fleet": [], "direct": [], "bus": []}
        for instance, through, straight in zip(instances, each[::2], each[1::2]):
            gateway = stack.enter_context(cluster.gateway.connection())
            host = stack.enter_context(cluster.direct(members[instance]))
            courses["fleet"].append([pusher(gateway, message) for message in through])
            courses["direct"].append([pusher(host, message) for message in straight])
            asker = stack.enter_context(Asker(cluster))
            asked = random.choices(cluster.simulation.instances(), k=pushes // LANES)
            courses["bus"].append([partial(asker.ask, host) for host in asked])
        busy = Busy()
        taken = paced(courses, RATE)
    figures = {
        f"{name}_p{each}_ms": percentile(values, each)
        for name, values in taken.items()
        for each in (50, 99)
    }
    return {
        "hosts": float(cluster.simulation.count),
        **figures,
        "p99_ratio": round(figures["fleet_p99_ms"] / figures["direct_p99_ms"], 2),
        "p50_ratio": round(figures["fleet_p50_ms"] / figures["direct_p50_ms"], 2),
        "processors_busy": busy.share(),
    }


def rates(cluster: Cluster, pushes: int = LOAD, rounds: int = 4) -> dict[str, Any]:
    """Pushes a second through the gateway to simulated hosts, and directly to one real host.

    The first push to a host costs the gateway more, because it verifies the host's certificate. So
    hosts that it knows and hosts that are new to it are measured separately.
    """
    instances, each = cluster.simulation.instances(), pushes // rounds
    random.shuffle(instances)
    known, new = instances[:200], instances[200:]
    member = cluster.members[0]
    gateway = partial(throughput, cluster.gateway.pid, cluster.gateway.connection)
    host = partial(throughput, member.daemon.pid, partial(cluster.direct, member))
    gateway(signed_pushes(known, 2 * len(known)))
    ours, fresh, peers = [], [], []
    for _ in range(rounds):
        ours.append(gateway(signed_pushes(known, each)))
        fresh.append(gateway(signed_pushes(new, each)))
        peers.append(host(signed_pushes([member.instance], each)))
    return {
        "gateway_per_core": statistics.median(one.by_core for one in ours),
        "gateway_per_core_to_new_hosts": statistics.median(one.by_core for one in fresh),
        "gateway_by_clock": statistics.median(one.by_clock for one in ours),
        "host_per_core": statistics.median(one.by_core for one in peers),
        "host_by_clock": statistics.median(one.by_clock for one in peers),
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
