"""An acknowledged key survives SIGKILL at any instant: 200 kills under load."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from agent.leases.journal_file import is_in_memory
from tests.faults.load import MANY, Acknowledged, Refused, check_all_served, pusher
from tests.parts.daemon import RunningDaemon, merged
from tests.parts.host import ROOT, work_directory

KILLS = 200
DAEMONS = 2
# A tmpfs on every Linux (shm_overview(7)).
MEMORY = "/dev/shm"
LIFETIME = 5
CONFIG = merged(MANY, {"keys": {"lifetime": LIFETIME}, "push": {"http": None}})


class Load:
    """Push as fast as possible on several connections until the daemon ends."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self._daemon = daemon
        self.acknowledged: list[Acknowledged] = []
        self._threads = [threading.Thread(target=self._push, args=(f"user{n}",)) for n in range(3)]
        for thread in self._threads:
            thread.start()

    def _push(self, os_user: str) -> None:
        try:
            with pusher(self._daemon) as one:
                while True:
                    self.acknowledged.append(one.push(os_user))
        except (OSError, EOFError):
            pass  # killed
        except Refused as refused:
            assert refused.code == "ServiceUnavailable"

    def end(self) -> list[Acknowledged]:
        """Wait until every connection has ended; return the acknowledged pushes."""
        for thread in self._threads:
            thread.join()
        return self.acknowledged


def kill_within_start(daemon: RunningDaemon, chance: random.Random) -> None:
    """Start a process on the same files, and kill it between exec and readiness."""
    with subprocess.Popen(
        [sys.executable, "-m", "agent", "--config", str(daemon.config_file)],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        time.sleep(chance.uniform(0.1, 0.4))
        process.kill()


def kill_again_and_again(folder: Path, journal: Path, kills: int, seed: int) -> int:
    """Push, kill, start and compare, again and again; return the number of acknowledged pushes."""
    chance = random.Random(seed)
    config = merged(CONFIG, {"journal": str(journal)})
    # Without asyncio's debug mode, which would slow down the many starts.
    daemon = RunningDaemon(folder, config=config, environment={"PYTHONASYNCIODEBUG": ""})
    everything: list[Acknowledged] = []
    with daemon:
        for number in range(kills):
            load = Load(daemon)
            time.sleep(chance.uniform(0.001, 0.06))
            daemon.kill()
            everything += load.end()
            if number % 10 == 9:
                kill_within_start(daemon, chance)
            daemon.start()
            check_all_served(daemon, everything, LIFETIME)
        assert "damaged" not in daemon.log()
    return len(everything)


@pytest.mark.timeout(400)
def test_no_acknowledged_key_is_lost_and_none_outlives_its_time() -> None:
    """Whenever the daemon is killed, every live acknowledged key is served, and no expired one."""
    with ExitStack() as stack:
        folder = stack.enter_context(work_directory())
        memory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=MEMORY)))
        pool = stack.enter_context(ThreadPoolExecutor(DAEMONS))
        assert is_in_memory(f"{memory}/leases.db")
        runs = []
        # One journal in the work directory, which may be on a disk, and one in memory.
        for seed, place in enumerate((folder, memory)):
            home = folder / str(seed)
            home.mkdir()
            journal = place / "leases.db"
            runs.append(pool.submit(kill_again_and_again, home, journal, KILLS // DAEMONS, seed))
        pushed = [run.result() for run in runs]
    assert all(count > KILLS for count in pushed), pushed
