"""Lookups and pushes a second, compared with floors that only answer."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Callable

from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.load import lookups, requests
from tests.benchmarks.pairs import Spread
from tests.benchmarks.serving import daemon, floor
from tests.faults.load import pusher
from tests.parts.daemon import RunningDaemon
from tests.parts.host import free_port, work_directory
from tests.parts.leases import ed25519_key, ed25519_line
from tests.parts.raw import Raw
from tests.parts.signed import push, sign

ROUNDS = 20
LOOKUPS, PUSHES = 500, 200
Round = Callable[[], float]
_USERS = itertools.count()


def rates(name: str, beside: str, ours: Round, peer: Round, rounds: int = ROUNDS) -> Figure:
    """Run rounds in turns; the value is our median rate over the peer's."""
    ours(), peer()
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            taken[which].append((ours, peer)[which]())
    mine, theirs = (Spread.of(each) for each in taken)
    detail = {
        "rounds": rounds,
        "ours_per_second": vars(mine),
        "peer_per_second": vars(theirs),
    }
    return Figure(name, round(mine.median / theirs.median, 4), "ratio", beside, detail)


def signed_pushes(count: int, user: str = "user") -> list[bytes]:
    """Signed pushes of new keys for a hundred users, ready to be sent."""
    first = time.time_ns()
    return [
        sign(push(InstanceOSUser=f"{user}{n % 100}", SSHPublicKey=ed25519_line(first + n))).raw()
        for n in range(count)
    ]


def fresh_keys(served: RunningDaemon, count: int) -> list[bytes]:
    """Push this many keys, each for a different user; return sshd's lookups for them."""
    keys = {f"user{next(_USERS)}": ed25519_key() for _ in range(count)}
    with Raw(served.push_socket) as raw:
        for user, key in keys.items():
            call = push(InstanceOSUser=user, SSHPublicKey=f"{key.type} {key.base64}")
            if raw.send(call.raw()).answer().status != 200:
                raise RuntimeError("a push was refused")
    return [f"{user} {key.fingerprint}\n".encode() for user, key in keys.items()]


def _lookups_vs_floor(name: str) -> Figure:
    with daemon() as served, floor("lookups") as constant:

        def ours() -> float:
            return lookups(served.lookup_socket, fresh_keys(served, LOOKUPS), LOOKUPS)

        question = [b"user1 SHA256:" + b"A" * 43 + b"\n"]
        return rates(
            name,
            "asyncio protocol, constant",
            ours,
            lambda: lookups(constant, question, LOOKUPS),
        )


@contextmanager
def _one_processor() -> Iterator[None]:
    """This process and those that it starts share one processor inside the block."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@figure
def lookups_vs_floor() -> Figure:
    """Lookups by fingerprint, as sshd makes them, against an asyncio protocol's constant answer.

    Each key is looked up once, so that each answer has its own audit record: repeated lookups are
    only counted there, and cost less.
    """
    return _lookups_vs_floor("lookups_vs_floor")


@figure
def lookups_vs_floor_on_one_processor() -> Figure:
    """The same with clients and servers on one processor, so that none is woken on an idle one."""
    with _one_processor():
        return _lookups_vs_floor("lookups_vs_floor_on_one_processor")


@figure
def lookup_10000_vs_10() -> Figure:
    """A lookup among 10,000 live keys of 1,000 users, against one among 10 keys of 10 users.

    On one processor: on two, a run differs from the next by which of the two daemons is woken on
    the other processor, by as much as the target allows.
    """
    with _one_processor(), daemon() as many, daemon() as few:
        with pusher(few) as one:
            for number in range(10):
                one.push(f"user{number}")
        with pusher(many) as one:
            for number in range(10_000):
                one.push(f"user{number}" if number < 10 else f"other{number % 1_000}")
        # Users with a single key, in both cases.
        lines = [f"user{number}\n".encode() for number in range(10)]
        return rates(
            "lookup_10000_vs_10",
            "10 live keys",
            lambda: 1 / lookups(many.lookup_socket, lines, LOOKUPS) * 1000,
            lambda: 1 / lookups(few.lookup_socket, lines, LOOKUPS) * 1000,
            rounds=3 * ROUNDS,
        )


@figure
def pushes_vs_h11() -> Figure:
    """Signed pushes with everything on, against a plain asyncio and h11 server's constant answer.

    Nothing of the floor is ours, so this figure changes only with the daemon.
    """
    with daemon() as served, floor("h11") as constant:
        return _against_h11("pushes_vs_h11", served.http_port, int(constant))


@figure
def http_shell_vs_h11() -> Figure:
    """Our HTTP shell with a constant answer, against the same floor: what pushes cannot beat."""
    with floor("shell") as shell, floor("h11") as constant:
        return _against_h11("http_shell_vs_h11", int(shell), int(constant))


def _against_h11(name: str, ours: int, constant: int) -> Figure:
    """The rates of signed pushes at two ports."""
    return rates(
        name,
        "asyncio and h11, constant",
        lambda: requests(("127.0.0.1", ours), signed_pushes(PUSHES)),
        lambda: requests(("127.0.0.1", constant), signed_pushes(PUSHES)),
    )


def _await_moto(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.1)
    raise RuntimeError("moto's server does not start")


@contextmanager
def moto() -> Iterator[int]:
    """A moto server; yields its port."""
    port = free_port()
    with work_directory() as folder, (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "moto.server", "-p", str(port)]
        environment = {**os.environ, "PYTHONASYNCIODEBUG": ""}
        with subprocess.Popen(command, stdout=log, stderr=log, env=environment) as process:
            try:
                _await_moto(port, process)
                yield port
            finally:
                process.kill()


def each_alone(address: tuple[str, int], messages: list[bytes]) -> float:
    """Requests a second, four at a time, each on a new connection: moto keeps none alive."""
    start = time.perf_counter()
    for first in range(0, len(messages), 4):
        with ExitStack() as stack:
            raws = [stack.enter_context(Raw(address)) for _ in messages[first : first + 4]]
            for raw, message in zip(raws, messages[first:]):
                raw.send(message)
            for raw in raws:
                status, _ = raw.head()
                if status != 200:
                    raise RuntimeError(f"moto: {status}")
    return len(messages) / (time.perf_counter() - start)


@figure
def pushes_vs_moto() -> Figure:
    """The same signed requests to moto, which answers without checking them.

    Both as their clients use them: ours on kept-alive connections, moto on a new one for each
    request.
    """
    with daemon() as served, moto() as port:
        return rates(
            "pushes_vs_moto",
            "moto's server",
            lambda: requests(("127.0.0.1", served.http_port), signed_pushes(PUSHES)),
            lambda: each_alone(("127.0.0.1", port), signed_pushes(PUSHES)),
            10,
        )
