"""Pushes to a gateway or a host: one after the other for latency, many at once for throughput."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.parts.leases import ed25519_line
from tests.parts.raw import Raw
from tests.parts.signed import push, sign

CONNECTIONS = 16


def signed_pushes(instances: Sequence[str], count: int) -> list[bytes]:
    """Signed pushes of new keys, each to a randomly chosen instance."""
    first = time.time_ns()
    return [
        sign(
            push(
                InstanceId=random.choice(instances),
                InstanceOSUser=f"user{number % 100}",
                SSHPublicKey=ed25519_line(first + number),
            )
        ).raw()
        for number in range(count)
    ]


@dataclass(frozen=True)
class Rate:
    """Pushes for each second of time, and for each second of the process' processor time."""

    by_clock: float
    by_core: float


def processor_seconds(pid: int) -> float:
    """User and system time of a process, its threads included (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def throughput(pid: int, connect: Callable[[], Raw], messages: Sequence[bytes]) -> Rate:
    """Push to a process over kept-alive connections on which the next request is always ready.

    Raises RuntimeError for an answer that is not 200.
    """
    shares = [messages[number::CONNECTIONS] for number in range(CONNECTIONS)]
    with ExitStack() as stack:
        raws = [stack.enter_context(connect()) for _ in shares]
        for raw, share in zip(raws, shares):
            raw.send(share[0]).answer()
        used, began = processor_seconds(pid), time.perf_counter()
        for raw, share in zip(raws, shares):
            raw.send(b"".join(share[1:]))
        for raw, share in zip(raws, shares):
            for _ in share[1:]:
                _check(raw)
        took = time.perf_counter() - began
        used = processor_seconds(pid) - used
    done = len(messages) - CONNECTIONS
    return Rate(round(done / took, 1), round(done / used, 1))


def pusher(raw: Raw, message: bytes) -> Callable[[], None]:
    """A call that sends this push, and raises RuntimeError unless the answer is 200."""

    def push() -> None:
        raw.send(message)
        _check(raw)

    return push


def _check(raw: Raw) -> None:
    answer = raw.answer()
    if answer.status != 200:
        raise RuntimeError(f"{answer.status}: {answer.content!r}")
