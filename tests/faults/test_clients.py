"""Hostile clients that are silent, never read or send garbage, and helpers that are killed."""

from __future__ import annotations

import contextlib
import random
import resource
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.faults.load import MANY, Watch, push_one, pusher, served
from tests.parts.daemon import RunningDaemon
from tests.parts.helper import ask_helper
from tests.parts.host import work_directory
from tests.parts.raw import ask
from tests.parts.signed import push, sign
from tests.parts.sshd import HELPER

CLIENTS = 10_000


@pytest.fixture(name="daemon")
def _daemon() -> Iterator[RunningDaemon]:
    with work_directory() as folder, RunningDaemon(folder, config=MANY) as daemon:
        yield daemon


@contextmanager
def room_for_descriptors(count: int) -> Iterator[None]:
    """Allow this process that many descriptors; skip the test if the host does not."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < count:
        pytest.skip(f"{count} descriptors are needed, and ulimit -Hn is {before[1]}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(count, before[0]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def connect(path: str, send: bytes) -> socket.socket:
    """Open a lookup connection, which waits in the kernel's queue, and send these bytes."""
    sock = socket.socket(socket.AF_UNIX)
    # Blocking: with a timeout the kernel would refuse the connection instead of queueing it.
    sock.connect(path)
    # The daemon may have closed it already, to make room for others.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        sock.sendall(send)
    return sock


@pytest.mark.parametrize("said", [b"", b"ali", b"alice\n"], ids=["nothing", "half", "all"])
def test_ten_thousand_clients_that_never_read_stop_no_lookup(
    said: bytes, daemon: RunningDaemon
) -> None:
    """Lookups are answered while ten thousand silent or deaf clients are connected."""
    watch = Watch(daemon)
    pushed = push_one(daemon)
    asked = 0
    with room_for_descriptors(CLIENTS + 500), ExitStack() as crowd:
        for number in range(CLIENTS):
            crowd.enter_context(connect(daemon.lookup_socket, said))
            if number % 1000 == 500:
                lines = ask_helper(daemon.lookup_socket, "alice")
                assert [line.split()[2] for line in lines] == [pushed.request_id]
                asked += 1
    assert asked == 10
    watch.check()


def test_answers_that_nobody_reads_are_dropped_in_time(daemon: RunningDaemon) -> None:
    """Large answers that clients do not read are dropped, and their memory is freed."""
    watch = Watch(daemon)
    with pusher(daemon) as one:
        for _ in range(500):
            watch.acknowledged.append(one.push("alice"))
    with ExitStack() as crowd:
        for _ in range(100):
            sock = crowd.enter_context(connect(daemon.lookup_socket, b"alice\n"))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        assert len(served(daemon)) == 500
        watch.check(memory=None)
    watch.check(memory=16.0)


def _garbage(daemon: RunningDaemon, until: float, seed: int) -> None:
    chance = random.Random(seed)
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.socket() as sock:
            sock.settimeout(1)
            sock.connect(("127.0.0.1", daemon.http_port))
            kind = chance.randrange(4)
            if kind == 0:
                while time.monotonic() < until:
                    sock.sendall(chance.randbytes(65_536))
            elif kind == 1:
                sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n" * 50)
            elif kind == 2:
                sock.sendall(b"GET /" + chance.randbytes(50).hex().encode() + b" HT")
                time.sleep(0.01)
            else:
                sock.sendall(push().raw())
                sock.recv(4096)


def test_garbage_at_line_rate_stops_no_other_source(daemon: RunningDaemon) -> None:
    """While one source sends garbage at full speed, another's pushes and lookups succeed."""
    watch = Watch(daemon)
    until = time.monotonic() + 3.0
    threads = [threading.Thread(target=_garbage, args=(daemon, until, n)) for n in range(4)]
    for thread in threads:
        thread.start()
    rounds = 0
    while time.monotonic() < until:
        answer = ask(("127.0.0.1", daemon.http_port), sign(push()).raw(), source="127.0.0.2")
        assert answer.code == ""
        lines = ask_helper(daemon.lookup_socket, "ec2-user")
        assert answer.request_id in {line.split()[2] for line in lines}
        rounds += 1
    for thread in threads:
        thread.join()
    assert rounds >= 3
    watch.check(memory=16.0)


def test_helpers_killed_midway_disturb_nobody(daemon: RunningDaemon) -> None:
    """Helpers that are killed at any instant leave nothing behind in the daemon."""
    watch = Watch(daemon)
    pushed = push_one(daemon)
    chance = random.Random(3)
    command = ["/usr/bin/python3", "-I", "-S", str(HELPER), "--socket", daemon.lookup_socket]
    for _ in range(100):
        with subprocess.Popen([*command, "alice"], stdout=subprocess.PIPE) as helper:
            time.sleep(chance.uniform(0.0, 0.02))
            helper.kill()
    assert served(daemon) == {pushed.request_id}
    watch.check()
