"""The daemon survives a lack of descriptors, memory or file space, and recovers."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from agent.config.limits import LIMITS
from tests.faults.load import MANY, Refused, Watch, descriptors, push_one, pusher, served
from tests.parts.daemon import RunningDaemon
from tests.parts.host import work_directory
from tests.parts.raw import Raw


@pytest.fixture(name="daemon")
def _daemon() -> Iterator[RunningDaemon]:
    with work_directory() as folder, RunningDaemon(folder, config=MANY) as daemon:
        yield daemon


@contextmanager
def limit_resource(daemon: RunningDaemon, what: int, value: int) -> Iterator[None]:
    """Set a soft limit of the daemon inside the block."""
    before = resource.prlimit(daemon.pid, what)
    resource.prlimit(daemon.pid, what, (value, before[1]))
    try:
        yield
    finally:
        resource.prlimit(daemon.pid, what, before)


def test_a_daemon_without_descriptors_still_takes_a_push(daemon: RunningDaemon) -> None:
    """A daemon without free descriptors accepts a push by closing silent clients, and recovers."""
    watch = Watch(daemon)
    room = len(descriptors(daemon.pid)) + 8
    with limit_resource(daemon, resource.RLIMIT_NOFILE, room), ExitStack() as open_:
        for address in (daemon.push_socket, ("127.0.0.1", daemon.http_port), daemon.lookup_socket):
            for _ in range(60):
                # The kernel may refuse: the daemon cannot accept without a free descriptor.
                with contextlib.suppress(OSError):
                    open_.enter_context(Raw(address))
        # Silent clients of the HTTP listeners are closed to make room, so this one is served.
        watch.acknowledged.append(push_one(daemon, "meanwhile"))
    watch.check()
    assert "Traceback" not in daemon.log()


def _vm_size(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def test_without_memory_for_a_lease_pushes_are_refused(daemon: RunningDaemon) -> None:
    """Pushes are refused when there is no memory for them, and lookups still work."""
    watch, refused = Watch(daemon), 0
    room = LIMITS.memory_reserve_bytes + 4 * 1024 * 1024
    with (
        limit_resource(daemon, resource.RLIMIT_AS, _vm_size(daemon.pid) + room),
        pusher(daemon) as one,
    ):
        for number in range(20_000):
            try:
                watch.acknowledged.append(one.push(f"user{number % 10}"))
            except Refused as no:
                assert no.code == "ServiceUnavailable"
                refused += 1
                assert len(served(daemon, "before")) == 1
            if refused == 200:
                break
    assert refused == 200, "memory never ran out"
    assert len(watch.acknowledged) > 100
    watch.check(memory=None)


def test_no_file_may_grow(daemon: RunningDaemon) -> None:
    """When no file can be written, pushes are refused and lookups still work."""
    watch = Watch(daemon)
    with limit_resource(daemon, resource.RLIMIT_FSIZE, 0):
        with pytest.raises(Refused, match="Service"):
            push_one(daemon)
        assert len(served(daemon, "before")) == 1
    watch.check()


def test_connections_that_come_and_go_leave_nothing(daemon: RunningDaemon) -> None:
    """A thousand clients that disconnect early, some in the middle of a request, leak nothing."""
    watch = Watch(daemon)
    for number in range(1000):
        address = (daemon.push_socket, daemon.lookup_socket)[number % 2]
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(address)
            sock.send(b"POST / HTTP/1.1\r\n"[: number % 17])
    watch.check()
