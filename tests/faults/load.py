"""What is done to a daemon under test, and how it is seen that nothing was lost by it."""

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

# Seconds within which a daemon is expected to have let go of what a fault made it hold.
PATIENCE = 15.0
# What allocators keep after a burst, and later use again.
SLACK_MIB = 8.0
_numbers = iter(range(1, 1 << 40))


def boottime() -> float:
    """CLOCK_BOOTTIME, s: what the daemon measures lifetimes by."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class Acknowledged:
    """A push that was answered 200, sent and answered at these times (CLOCK_BOOTTIME, s)."""

    os_user: str
    request_id: str
    sent: float
    answered: float


class Pusher:
    """A connection to the push socket that pushes one fresh key after another."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self._raw = Raw(daemon.push_socket)

    def push(self, os_user: str) -> Acknowledged:
        """Push a key. Raises OSError or EOFError when the daemon goes, Refused when it says no."""
        number = next(_numbers) + (os.getpid() << 48)
        call = push(InstanceOSUser=os_user, SSHPublicKey=ed25519_line(number))
        sent = boottime()
        answer = self._raw.send(call.raw()).answer()
        if answer.status != 200:
            raise Refused(answer.code)
        return Acknowledged(os_user, answer.request_id, sent, boottime())

    def close(self) -> None:
        """Close."""
        self._raw.close()


class Refused(Exception):
    """The daemon answered, with an error; `code` is its name."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@contextmanager
def pusher(daemon: RunningDaemon) -> Iterator[Pusher]:
    """A pusher, closed at the end."""
    made = Pusher(daemon)
    try:
        yield made
    finally:
        made.close()


def push_one(daemon: RunningDaemon, os_user: str = "alice") -> Acknowledged:
    """Push one key on a connection of its own."""
    with pusher(daemon) as one:
        return one.push(os_user)


def served(daemon: RunningDaemon, os_user: str = "alice") -> set[str]:
    """The request ids that a lookup gives now."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(daemon.lookup_socket)  # blocking: it waits for its place in the queue
        sock.sendall(f"{os_user}\n".encode())
        answer = b"".join(iter(lambda: sock.recv(65_536), b""))
    assert answer == END_MARK or answer.endswith(b"\n" + END_MARK), f"cut off: {answer!r}"
    return {line.split()[2] for line in answer.decode().splitlines() if line}


def check_all_served(
    daemon: RunningDaemon, acknowledged: list[Acknowledged], lifetime: float
) -> None:
    """What was acknowledged is served: none is missing, and none is there after its time."""
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
    """A process's memory, in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024 / 1024


def descriptors(pid: int) -> list[str]:
    """What a process has open, by name."""
    open_now = []
    for number in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):  # closed since it was listed
            open_now.append(os.readlink(f"/proc/{pid}/fd/{number}"))
    return sorted(open_now)


class Watch:
    """A daemon before a fault, and what must be so again after it."""

    def __init__(self, daemon: RunningDaemon, lifetime: float = 60.0) -> None:
        self.daemon = daemon
        self._lifetime = lifetime
        # Once, so that what is made at first use does not count as left over.
        self.acknowledged = [push_one(daemon, "before")]
        ask_helper(daemon.lookup_socket, "before")
        self._pid = daemon.pid
        self._descriptors = descriptors(daemon.pid)
        self._memory = resident_mib(daemon.pid)

    def check(self, memory: Optional[float] = SLACK_MIB) -> None:
        """A lookup and a push work, nothing live is gone, descriptors and memory are back.

        A daemon that was restarted has a process of its own, and nothing to give back.
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
