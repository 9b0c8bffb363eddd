"""Load on a daemon under test, and checks that nothing was lost."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from agent.lookup.server import END_MARK
from tests.parts.daemon import RunningDaemon
from tests.parts.helper import ask_helper
from tests.parts.leases import ed25519_line
from tests.parts.raw import Raw
from tests.parts.signed import push

MANY: dict[str, Any] = {
    # Ed25519 has the shortest lines, so one user can have the most of them.
    "keys": {"types": ["ssh-ed25519"], "per_user": 2_500, "total": 100_000},
    "push": {"rate": {"per_credential": 100_000, "total": 100_000}},
}
"""Room for as much load as a test likes."""

# Seconds within which a daemon must release the resources that a fault made it hold.
PATIENCE = 15.0
# Memory that allocators keep after a burst and use again later.
SLACK_MIB = 8.0
_numbers = iter(range(1, 1 << 40))


def boottime() -> float:
    """CLOCK_BOOTTIME in seconds, the clock by which the daemon measures lifetimes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class Acknowledged:
    """A push that was answered 200, with its times of sending and answer (CLOCK_BOOTTIME, s)."""

    os_user: str
    request_id: str
    sent: float
    answered: float


class Pusher:
    """A connection to the push socket that pushes new keys."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self._raw = Raw(daemon.push_socket)

    def push(self, os_user: str) -> Acknowledged:
        """Push a key.

        Raises OSError or EOFError when the daemon ends, and Refused when it answers with an error.
        """
        number = next(_numbers) + (os.getpid() << 48)
        call = push(InstanceOSUser=os_user, SSHPublicKey=ed25519_line(number))
        sent = boottime()
        answer = self._raw.send(call.raw()).answer()
        if answer.status != 200:
            raise Refused(answer.code)
        return Acknowledged(os_user, answer.request_id, sent, boottime())

    def close(self) -> None:
        """Close the connection."""
        self._raw.close()


class Refused(Exception):
    """The daemon answered with an error; `code` is its name."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@contextmanager
def pusher(daemon: RunningDaemon) -> Iterator[Pusher]:
    """A pusher that is closed at the end."""
    made = Pusher(daemon)
    try:
        yield made
    finally:
        made.close()


def push_one(daemon: RunningDaemon, os_user: str = "alice") -> Acknowledged:
    """Push one key on a new connection."""
    with pusher(daemon) as one:
        return one.push(os_user)


def served(daemon: RunningDaemon, os_user: str = "alice") -> set[str]:
    """The request ids that a lookup returns now."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(daemon.lookup_socket)  # blocking: it waits for its place in the queue
        sock.sendall(f"{os_user}\n".encode())
        answer = b"".join(iter(lambda: sock.recv(65_536), b""))
    assert answer == END_MARK or answer.endswith(b"\n" + END_MARK), f"cut off: {answer!r}"
    return {line.split()[2] for line in answer.decode().splitlines() if line}


def check_all_served(
    daemon: RunningDaemon, acknowledged: list[Acknowledged], lifetime: float
) -> None:
    """Fail unless every live acknowledged key is served, and no expired one is."""
    for os_user in sorted({each.os_user for each in acknowledged}):
        before = boottime()
        found = served(daemon, os_user)
        after = boottime()
        mine = [each for each in acknowledged if each.os_user == os_user]
        must = {each.request_id for each in mine if after < each.sent + lifetime}
        must_not = {each.request_id for each in mine if before >= each.answered + lifetime}
        assert must <= found, f"{len(must - found)} of {len(must)} are missing"
        assert not must_not & found, f"{len(must_not & found)} are there after their time"


def resident_mib(pid: int) -> float:
    """A process's resident memory in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024 / 1024


def descriptors(pid: int) -> list[str]:
    """The open descriptors of a process, by name."""
    open_now = []
    for number in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):  # closed since it was listed
            open_now.append(os.readlink(f"/proc/{pid}/fd/{number}"))
    return sorted(open_now)


class Watch:
    """The state of a daemon before a fault, to which it must return afterwards."""

    def __init__(self, daemon: RunningDaemon, lifetime: float = 60.0) -> None:
        self.daemon = daemon
        self._lifetime = lifetime
        # Resources that are allocated at first use are not counted as leaked.
        self.acknowledged = [push_one(daemon, "before")]
        ask_helper(daemon.lookup_socket, "before")
        self._pid = daemon.pid
        self._descriptors = descriptors(daemon.pid)
        self._memory = resident_mib(daemon.pid)

    def check(self, memory: Optional[float] = SLACK_MIB) -> None:
        """Fail unless lookup and push work, no live key is lost, and resources are freed.

        The resources are descriptors and memory. They are not compared after a restart, when the
        daemon has a new process.
        """
        if self.daemon.pid == self._pid:
            self._check_descriptors()
        self.acknowledged.append(push_one(self.daemon, "after"))
        lines = ask_helper(self.daemon.lookup_socket, "after")
        assert self.acknowledged[-1].request_id in {line.split()[2] for line in lines}
        check_all_served(self.daemon, self.acknowledged, self._lifetime)
        assert self.daemon.process is not None
        assert self.daemon.process.poll() is None
        if memory is not None and self.daemon.pid == self._pid:
            assert resident_mib(self.daemon.pid) < self._memory + memory

    def _check_descriptors(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while len(now := descriptors(self._pid)) > len(self._descriptors):
            assert time.monotonic() < deadline, f"{self._descriptors} before, and now {now}"
            time.sleep(0.05)
