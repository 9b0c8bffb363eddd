"""Lifetimes hold when clocks are set, the process is stopped, or the machine sleeps."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.lookup.server import END_MARK
from tests.faults.disk import needs_root
from tests.faults.load import Watch, boottime, push_one, served
from tests.parts.daemon import RunningDaemon
from tests.parts.host import tool, work_directory
from tests.parts.raw import Raw, ask
from tests.parts.signed import push, sign

SHORT = {"keys": {"lifetime": 2}}
SHIFT = Path(__file__).parent / "shift.c"
HOUR = 3600.0


@pytest.fixture(name="folder")
def _folder() -> Iterator[Path]:
    with work_directory() as folder:
        yield folder


def test_a_process_that_was_stopped_over_the_end_serves_nothing(folder: Path) -> None:
    """A daemon that was stopped (SIGSTOP) until a key expired does not serve it afterwards."""
    with RunningDaemon(folder, config=SHORT) as daemon:
        pushed = push_one(daemon)
        assert served(daemon) == {pushed.request_id}
        os.kill(daemon.pid, signal.SIGSTOP)
        with Raw(daemon.lookup_socket) as early:
            early.send(b"alice\n")
            time.sleep(max(0.0, pushed.answered + 2.0 - boottime()))
            os.kill(daemon.pid, signal.SIGCONT)
            answer = b"".join(iter(lambda: early.sock.recv(4096), b""))
            assert answer in {b"", END_MARK}
        assert served(daemon) == set()
        Watch(daemon, lifetime=2.0).check()


class Shift:
    """A wall clock that can be set for one daemon, through a preloaded library."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "shift"
        library = folder / "shift.so"
        subprocess.run(
            [tool("gcc", "gcc"), "-O2", "-shared", "-fPIC", "-o", str(library), str(SHIFT), "-ldl"],
            check=True, timeout=60,
        )  # fmt: skip
        self.set(0.0)
        self.environment = {"LD_PRELOAD": str(library), "SHIFT_FILE": str(self._file)}

    def set(self, seconds: float) -> None:
        """Set the clock this many seconds off the host's clock."""
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("d", seconds))


@pytest.mark.parametrize("hours", [5, -30])
def test_setting_the_wall_clock_changes_no_lifetime(hours: int, folder: Path) -> None:
    """Setting the wall clock neither shortens nor extends a key's life, also after a restart."""
    shift = Shift(folder)
    with RunningDaemon(folder, config=SHORT, environment=shift.environment) as daemon:
        pushed = push_one(daemon)
        shift.set(hours * HOUR)
        assert served(daemon) == {pushed.request_id}
        address = ("127.0.0.1", daemon.http_port)
        assert ask(address, sign(push()).raw()).code == "RequestExpired"
        daemon.kill()
        daemon.start()
        if boottime() < pushed.sent + 2.0:
            found = served(daemon)
            assert boottime() >= pushed.sent + 2.0 or found == {pushed.request_id}
        time.sleep(max(0.0, pushed.answered + 2.0 - boottime()))
        assert served(daemon) == set()
        shift.set(0.0)
        assert served(daemon) == set()
        assert ask(address, sign(push()).raw()).code == ""


@needs_root
@pytest.mark.parametrize("seconds", [61, -61])
def test_a_sleep_over_the_end_of_a_key_ends_it(seconds: int, folder: Path) -> None:
    """A key does not outlive a minute's suspend, and one from the future is not served.

    A time namespace changes CLOCK_BOOTTIME by a minute between two daemons of the same boot.
    """
    with RunningDaemon(folder) as daemon:
        assert served(daemon) == set()
        pushed = push_one(daemon)
        assert served(daemon) == {pushed.request_id}
        daemon.stop()
    unshare = tool("unshare", "util-linux")
    prefix = [unshare, "--time", "--boottime", str(seconds), "--fork", "--kill-child", "--"]
    elsewhen = RunningDaemon(folder, prefix=prefix)
    elsewhen.start()
    try:
        assert served(elsewhen) == set()
        assert len(served(elsewhen, "bob")) == 0
        fresh = push_one(elsewhen, "bob")
        assert served(elsewhen, "bob") == {fresh.request_id}
    finally:
        elsewhen.kill()
