"""A daemon that has lost its replay memory still refuses a captured request."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from agent.config.limits import LIMITS
from agent.config.settings import Keys
from agent.leases.journal import Journal
from agent.leases.lease import AcceptedMark
from tests.faults.load import MANY, Acknowledged, Refused, push_one, served
from tests.faults.test_time import HOUR, Shift
from tests.parts.daemon import RunningDaemon, merged
from tests.parts.host import work_directory
from tests.parts.leases import mark
from tests.parts.raw import Answer, ask
from tests.parts.signed import push, sign

SHORT = {"keys": {"lifetime": 2}}
USER = "ec2-user"
# The daemon checks its journal every 5 s.
PATIENCE = 20.0


@pytest.fixture(name="folder")
def _folder() -> Iterator[Path]:
    with work_directory() as folder:
        yield folder


def send(daemon: RunningDaemon, data: bytes) -> Answer:
    """Send a request over the network listener."""
    return ask(("127.0.0.1", daemon.http_port), data)


def capture(daemon: RunningDaemon) -> bytes:
    """A signed push that was accepted, and whose key has expired."""
    data = sign(push()).raw()
    assert send(daemon, data).code == ""
    time.sleep(2.1)
    assert served(daemon, USER) == set()
    return data


def check_refused(daemon: RunningDaemon, captured: bytes) -> None:
    """Fail unless a captured request is refused and a request that was signed later is accepted."""
    assert send(daemon, captured).code == "RequestExpired"
    assert served(daemon, USER) == set()
    time.sleep(1.0)
    assert send(daemon, sign(push()).raw()).code == ""


def _remove(journal: Path) -> None:
    for file in journal.parent.glob("leases.db*"):
        file.unlink()


def _damage(journal: Path) -> None:
    for file in journal.parent.glob("leases.db*"):
        file.write_bytes(b"rubbish" * 1000)


@pytest.mark.parametrize("lose", [_remove, _damage], ids=["removed", "damaged"])
def test_a_captured_request_is_refused_after_the_journal_is_lost(
    lose: Callable[[Path], None], folder: Path
) -> None:
    """A captured request is refused after the journal is lost, and after the next restart too."""
    with RunningDaemon(folder, config=SHORT) as daemon:
        captured = capture(daemon)
        daemon.kill()
        lose(folder / "leases.db")
        for _ in range(2):
            daemon.start()
            check_refused(daemon, captured)
            daemon.kill()
            time.sleep(2.1)


def test_a_captured_request_is_refused_after_a_restart_without_a_journal(folder: Path) -> None:
    """With `journal: none`, a request that was signed before the daemon's start is refused."""
    with RunningDaemon(folder, config=merged(SHORT, {"journal": "none"})) as daemon:
        captured = capture(daemon)
        daemon.kill()
        daemon.start()
        check_refused(daemon, captured)


def test_a_captured_request_is_refused_after_the_clock_jumped(folder: Path) -> None:
    """A captured request is refused after the clock jumped ahead and back, and after a restart."""
    shift = Shift(folder)
    with RunningDaemon(folder, config=SHORT, environment=shift.environment) as daemon:
        captured = capture(daemon)
        deadline = time.monotonic() + PATIENCE
        while send(daemon, captured).code != "RequestExpired":
            assert time.monotonic() < deadline
            shift.set(HOUR)
            time.sleep(0.5)
            shift.set(0.0)
            assert served(daemon, USER) == set()
        daemon.kill()
        daemon.start()
        check_refused(daemon, captured)


def test_a_journal_removed_under_the_daemon_is_written_anew(folder: Path) -> None:
    """A journal that is removed while the daemon runs is reported and written again.

    After SIGKILL, all acknowledged keys and their marks are still known.
    """
    with RunningDaemon(folder, config=MANY) as daemon:
        data = sign(push()).raw()
        before = send(daemon, data)
        _remove(folder / "leases.db")
        after = push_one(daemon, USER)
        deadline = time.monotonic() + PATIENCE
        while "removed or replaced" not in daemon.log():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        last = push_until_taken(daemon, deadline)
        daemon.kill()
        daemon.start()
        names = {before.request_id, after.request_id, last.request_id}
        assert served(daemon, USER) == names
        assert send(daemon, data).request_id == before.request_id
        assert served(daemon, USER) == names


def push_until_taken(daemon: RunningDaemon, deadline: float) -> Acknowledged:
    """Retry a push while the journal is being rewritten, as clients do."""
    while True:
        try:
            return push_one(daemon, USER)
        except Refused as refused:
            assert (refused.code, time.monotonic() < deadline) == ("ServiceUnavailable", True)
            time.sleep(0.1)


def _remember(journal: Path, count: int) -> None:
    """Add this many pushes to a journal, as on a busy host."""
    opened = Journal(str(journal))
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    found = opened.open(Keys(), now, pytest.fail, pytest.fail)
    assert found is not None
    marks = [each for _, each in opened.marks(0)]
    dated = time.time()
    more = [AcceptedMark(mark(number, dated), f"id {number}", "busy") for number in range(count)]
    opened.rewrite(found.leases, marks + more, found.horizon)
    opened.close()


def _look_up(address: str, found: list[bytes], stop: threading.Event) -> None:
    """Retry a lookup until it is answered, as for a login while the daemon starts."""
    while not stop.is_set() and not found:
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(address)
                sock.sendall(f"{USER}\n".encode())
                found.append(b"".join(iter(lambda: sock.recv(65_536), b"")))
        except OSError:
            time.sleep(0.005)


def test_a_login_is_answered_before_100000_marks_are_read(folder: Path) -> None:
    """A lookup is answered before all marks are read; pushes are accepted only afterwards."""
    with RunningDaemon(folder, config=MANY) as daemon:
        data = sign(push()).raw()
        first = send(daemon, data)
        daemon.kill()
        _remember(folder / "leases.db", LIMITS.remembered_marks - 1)
        found: list[bytes] = []
        stop = threading.Event()
        asking = threading.Thread(target=_look_up, args=(daemon.lookup_socket, found, stop))
        asking.start()
        try:
            daemon.start()
        finally:
            stop.set()
            asking.join()
        assert first.request_id.encode() in found[0]
        assert _events(daemon)[-2:] == ["lookup", "start"]
        assert send(daemon, data).request_id == first.request_id
        # All marks are known: there is no room for one more.
        assert send(daemon, sign(push()).raw()).code == "ThrottlingException"


def _events(daemon: RunningDaemon) -> list[Any]:
    return [record["event"] for record in daemon.audit()]
