"""The journal's disk is full, read-only or damaged, or the journal is from another boot."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.disk import SmallDisk, needs_root
from tests.faults.load import MANY, Acknowledged, Refused, Watch, push_one, pusher, served
from tests.parts.daemon import RunningDaemon, merged
from tests.parts.host import work_directory

# The daemon retries an unusable journal every 5 s.
PATIENCE = 20.0


@pytest.fixture(name="folder")
def _folder() -> Iterator[Path]:
    with work_directory() as folder:
        yield folder


@pytest.fixture(name="disk")
def _disk(folder: Path) -> Iterator[SmallDisk]:
    with SmallDisk(folder / "disk") as disk:
        yield disk


def on(disk: SmallDisk, folder: Path) -> RunningDaemon:
    """A daemon whose journal is on this disk."""
    config = merged(MANY, {"journal": str(disk.folder / "leases.db")})
    return RunningDaemon(folder, config=config, prefix=disk.prefix)


def push_until_refused(daemon: RunningDaemon) -> tuple[list[Acknowledged], str]:
    """Push until an error; return the acknowledged pushes and the error's code."""
    taken: list[Acknowledged] = []
    with pusher(daemon) as one:
        while True:
            try:
                taken.append(one.push(f"user{len(taken) % 10}"))
            except Refused as refused:
                return taken, refused.code


def eventually_pushes(daemon: RunningDaemon) -> Acknowledged:
    """Retry a push until it is accepted."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return push_one(daemon)
        except Refused as refused:
            assert refused.code in {"ServiceUnavailable", "ServiceException"}
            assert time.monotonic() < deadline
            time.sleep(0.1)


@needs_root
def test_a_full_disk_refuses_pushes_and_loses_none(disk: SmallDisk, folder: Path) -> None:
    """On a full disk pushes fail and lookups work; with free space pushes work again."""
    with on(disk, folder) as daemon:
        watch = Watch(daemon)
        disk.fill()
        taken, code = push_until_refused(daemon)
        assert code == "ServiceException"
        for _ in range(3):
            with pytest.raises(Refused, match="Service"):
                push_one(daemon)
        names = {each.request_id for each in taken}
        assert served(daemon) == names
        daemon.kill()
        daemon.start()
        assert served(daemon) == names
        disk.free()
        taken.append(eventually_pushes(daemon))
        daemon.kill()
        daemon.start()
        assert served(daemon) == {each.request_id for each in taken}
        watch.check(memory=None)


@needs_root
def test_a_read_only_disk_gives_what_it_has_and_takes_nothing(
    disk: SmallDisk, folder: Path
) -> None:
    """On a read-only disk live keys are served, and pushes are refused until it is writable."""
    with on(disk, folder) as daemon:
        watch = Watch(daemon)
        taken = [push_one(daemon) for _ in range(20)]
        daemon.kill()
        disk.remount("ro")
        daemon.start()
        assert "Read-only file system" in daemon.log()
        assert served(daemon) == {each.request_id for each in taken}
        with pytest.raises(Refused, match="ServiceUnavailable"):
            push_one(daemon)
        disk.remount("rw")
        taken.append(eventually_pushes(daemon))
        daemon.kill()
        daemon.start()
        assert served(daemon) == {each.request_id for each in taken}
        watch.check(memory=None)


def _rubbish(file: Path) -> None:
    file.write_bytes(random.Random(1).randbytes(20_000))


def _truncated(file: Path) -> None:
    with file.open("r+b") as journal:
        journal.truncate(file.stat().st_size // 2 + 100)


def _flipped(file: Path) -> None:
    data = bytearray(file.read_bytes())
    for place in random.Random(2).sample(range(100, len(data)), 200):
        data[place] ^= 0x41
    file.write_bytes(data)


def _another_user(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"before", b"rootly"))


def _another_version(file: Path) -> None:
    database = sqlite3.connect(file)
    database.execute("PRAGMA user_version = 99")
    database.close()


DAMAGES = [_rubbish, _truncated, _flipped, _another_user, _another_version]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__.strip("_"))
def test_a_damaged_journal_is_set_aside_and_the_daemon_starts(
    damage: Callable[[Path], None], folder: Path
) -> None:
    """A damaged journal is reported and kept for inspection, and none of its keys is served."""
    with RunningDaemon(folder, config=MANY) as daemon:
        for _ in range(50):
            push_one(daemon, "before")
        daemon.stop()
        journal = folder / "leases.db"
        damage(journal)
        daemon.start()
        assert "set aside" in daemon.log()
        assert (folder / "leases.db.damaged").stat().st_mode & 0o777 == 0o600
        assert served(daemon, "before") == set()
        assert served(daemon, "rootly") == set()
        watch = Watch(daemon)
        daemon.kill()
        daemon.start()
        watch.check(memory=None)


def test_leases_of_another_boot_are_dropped(folder: Path) -> None:
    """A reboot ends every lease, because lease times are measured on the boot clock."""
    with RunningDaemon(folder, config=MANY) as daemon:
        push_one(daemon, "before")
        daemon.stop()
        with sqlite3.connect(folder / "leases.db") as database:
            database.execute("UPDATE boot SET id = 'another'")
        database.close()
        daemon.start()
        assert served(daemon, "before") == set()
        assert "damaged" not in daemon.log()
        Watch(daemon).check()
