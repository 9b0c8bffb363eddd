"""The journal: what was recorded is there again, and what is damaged is never believed."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config import settings as config
from agent.leases.journal import Journal
from agent.leases.journal_rows import Remembered
from agent.leases.lease import NotDurable
from tests.parts.leases import ed25519_key, make_lease, mark

KEYS = config.Keys()
BOOT = "6b8a1f6e-0000-4000-8000-000000000001"


class Disk:
    """One journal's file, opened as often as a test likes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "leases.db"
        self.reports: list[str] = []
        self.unusable: list[str] = []
        self.found = Remembered([], [])
        self._open: list[Journal] = []

    def open(self, boot: str = BOOT, keys: config.Keys = KEYS) -> Journal:
        """A journal on the file, as a daemon that starts would have it."""
        self.close()
        journal = Journal(str(self.path), boot)
        self._open.append(journal)
        self.found = journal.open(keys, self.reports.append, self.unusable.append)
        return journal

    def reopen(self, boot: str = BOOT, keys: config.Keys = KEYS) -> Remembered:
        """What a daemon that starts now would take over."""
        self.open(boot, keys)
        return self.found

    def close(self) -> None:
        """Close what is open: WAL and all are written back."""
        while self._open:
            self._open.pop().close()


@pytest.fixture(name="disk")
def _disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path)
    yield disk
    disk.close()


def test_what_was_recorded_is_remembered(disk: Disk) -> None:
    """Every field of a lease comes back; its end is the same, not sixty seconds from now."""
    lease, other = make_lease("alice"), make_lease("bob", at=1001.5)
    journal = disk.open()
    journal.record(lease)
    journal.record(other)
    assert disk.reopen().leases == [lease, other]
    assert disk.reports == disk.unusable == []


def test_it_is_there_although_nothing_was_closed(disk: Disk, tmp_path: Path) -> None:
    """Another process, after a SIGKILL, finds the files as they are at this moment."""
    journal = disk.open()
    lease = make_lease(mark=mark(1))
    journal.record(lease)
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tmp_path.glob("leases.db*"):
        shutil.copy(file, copy)
    later = Disk(copy)
    found = later.reopen()
    later.close()
    assert [each.request_id for each in found.leases] == [lease.request_id]
    assert found.answered == [(mark(1), lease.request_id)]


def test_the_same_key_of_the_same_user_stands_once(disk: Disk) -> None:
    """The newer push counts; for another user it is another lease."""
    key, journal = ed25519_key(), disk.open()
    for lease in (make_lease(key=key), newer := make_lease(key=key, at=1030.0)):
        journal.record(lease)
    journal.record(other := make_lease("bob", key))
    assert sorted(disk.reopen().leases, key=lambda each: each.os_user) == [newer, other]


def test_removed_leases_stay_removed_and_their_requests_remembered(disk: Disk) -> None:
    """A revoked key does not come back after a restart, nor by replaying its request."""
    journal = disk.open()
    lease = make_lease(mark=mark(7))
    journal.record(lease)
    journal.remove([lease])
    found = disk.reopen()
    assert found == Remembered([], [(mark(7), lease.request_id)])


def test_what_has_ended_leaves_the_file(disk: Disk) -> None:
    """Leases go by boot time at their end; requests by the wall clock, when their date is past."""
    journal = disk.open()
    journal.record(make_lease(mark=mark(1, 5_000.0)))
    skew = config.LIMITS.clock_skew_seconds
    journal.forget(1059.9, 5_000.0 + skew)
    found = disk.reopen()
    assert len(found.leases) == len(found.answered) == 1
    disk.open().forget(1060.0, 5_000.1 + skew)
    assert disk.reopen() == Remembered([], [])


def test_another_boot_ends_every_lease_and_no_request(disk: Disk) -> None:
    """Boot time begins anew, so nothing of before may be measured with it; replays may come."""
    journal = disk.open()
    journal.record(make_lease(mark=mark(3)))
    found = disk.reopen("another-boot")
    assert found.leases == []
    assert [request for request, _ in found.answered] == [mark(3)]


def test_todays_settings_hold_for_yesterdays_leases(disk: Disk) -> None:
    """A shorter lifetime shortens what is remembered, and a type taken off the list is dropped."""
    disk.open().record(make_lease())
    short = config.Keys(lifetime=10)
    (lease,) = disk.reopen(keys=short).leases
    assert lease.expires_at == 1010.0
    assert disk.reopen(keys=config.Keys(types=("ssh-rsa",))).leases == []


def test_nobody_else_can_read_it(disk: Disk) -> None:
    """It is 0600 from its first byte on, and so are the files beside it."""
    disk.open().record(make_lease())
    files = list(disk.path.parent.iterdir())
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_symbolic_link_is_not_followed(disk: Disk, tmp_path: Path) -> None:
    """Whoever could put a link there must not choose what is written to."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"")
    disk.path.symlink_to(victim)
    assert not disk.open().sound
    assert len(disk.unusable) == 1
    assert victim.read_bytes() == b""


def test_two_daemons_never_share_a_journal(disk: Disk, tmp_path: Path) -> None:
    """The second is told so, and what the first records stays whole."""
    journal = disk.open()
    second = Disk(tmp_path)
    assert not second.open().sound
    assert "locked" in second.unusable[0]
    with pytest.raises(NotDurable):
        second.open().record(make_lease())
    second.close()
    journal.record(make_lease())
    assert len(disk.reopen().leases) == 1


def _set_aside(disk: Disk) -> None:
    journal = disk.open()
    assert disk.found == Remembered([], [], incomplete=True)
    assert len(disk.reports) == 1
    assert "set aside" in disk.reports[0]
    assert disk.path.with_name("leases.db.damaged").exists()
    lease = make_lease()
    journal.record(lease)
    assert disk.reopen().leases == [lease]


@pytest.mark.parametrize(
    "content", [b"no database at all" * 100, b"\0" * 8192, b"SQLite format 3\0"]
)
def test_what_is_no_journal_is_set_aside(content: bytes, disk: Disk) -> None:
    """It is reported and kept, and a new one takes its place."""
    disk.path.write_bytes(content)
    _set_aside(disk)


def test_another_version_is_set_aside(disk: Disk) -> None:
    """After a downgrade the newer journal's tables are not guessed at."""
    disk.open().record(make_lease())
    disk.close()
    with sqlite3.connect(disk.path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    _set_aside(disk)


def test_missing_tables_and_columns_are_set_aside(disk: Disk) -> None:
    """A file that says it is of our version and is not ours is damaged like any other."""
    disk.open()
    disk.close()
    with sqlite3.connect(disk.path) as database:
        database.execute("DROP TABLE leases")
        database.execute("CREATE TABLE leases (something TEXT)")
    database.close()
    _set_aside(disk)


def test_a_truncated_file_is_set_aside(disk: Disk) -> None:
    """Half a database is none."""
    journal = disk.open()
    for _ in range(100):
        journal.record(make_lease())
    disk.close()
    with disk.path.open("r+b") as file:
        file.truncate(disk.path.stat().st_size // 2)
    _set_aside(disk)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("os_user", "root"), ("type", "ssh-rsa"), ("base64", "AAAA"), ("request_id", "x\ny"),
        ("pushed_at", "soon"), ("pushed_at", 1059.0), ("expires_at", 1e300), ("expires_at", b"\0"),
        ("principal", b"\xff\xfe"), ("source", "10.0.0.1"),
    ],
)  # fmt: skip
def test_no_altered_row_is_believed(column: str, value: object, disk: Disk) -> None:
    """Whatever was changed in a lease on disk, nobody is let in by it: all of it is set aside."""
    disk.open().record(make_lease("alice"))
    disk.close()
    with sqlite3.connect(disk.path) as database:
        database.execute(f"UPDATE leases SET {column} = ?", (value,))  # noqa: S608 - of this test
    database.close()
    _set_aside(disk)


def test_a_request_cannot_be_taken_off_the_record_by_damage(disk: Disk) -> None:
    """What was answered is covered by the same digest as what is live."""
    disk.open().record(make_lease(mark=mark(1)))
    disk.close()
    with sqlite3.connect(disk.path) as database:
        database.execute("UPDATE answered SET signed_at = 0")
    database.close()
    _set_aside(disk)


def test_replace_leaves_exactly_what_it_was_given(disk: Disk) -> None:
    """After an outage the table is right, and the journal follows it."""
    journal = disk.open()
    journal.record(make_lease("revoked meanwhile", mark=mark(1)))
    journal.replace([lease := make_lease("alice")])
    found = disk.reopen()
    assert found.leases == [lease]
    assert [request for request, _ in found.answered] == [mark(1)]


@pytest.mark.parametrize("seed", range(40))
def test_random_damage_lets_nobody_in(seed: int, disk: Disk) -> None:
    """Random bytes anywhere: what comes back is a lease that was recorded, or nothing; no crash."""
    chance = random.Random(seed)
    journal = disk.open()
    leases = [make_lease(f"user{number}", mark=mark(number)) for number in range(30)]
    for lease in leases:
        journal.record(lease)
    disk.close()
    data = bytearray(disk.path.read_bytes())
    for _ in range(chance.choice([1, 5, 50, 500])):
        data[chance.randrange(len(data))] = chance.randrange(256)
    disk.path.write_bytes(data)
    journal = disk.open()
    recorded = {lease.request_id: lease for lease in leases}
    for lease in disk.found.leases:
        known = recorded[lease.request_id]
        assert lease == dataclasses.replace(known, mark=None)
    if journal.sound:
        journal.record(make_lease("later"))
    else:
        assert disk.unusable


@pytest.mark.parametrize("kind", ["writable by others", "two names", "another user's", "a folder"])
def test_a_file_that_others_could_have_written_is_not_read(disk: Disk, kind: str) -> None:
    """Whoever writes the journal decides who may log in: it is left alone, and nothing is read."""
    disk.open().record(make_lease())
    disk.close()
    if kind == "writable by others":
        disk.path.chmod(0o622)
    elif kind == "two names":
        os.link(disk.path, disk.path.with_name("other"))
    elif kind == "another user's":
        if os.geteuid():
            pytest.skip("only root can give a file away")
        os.chown(disk.path, 65534, -1)
    else:
        disk.path.unlink()
        disk.path.mkdir()
    journal = disk.open()
    assert not journal.sound
    assert (disk.found, len(disk.unusable)) == (Remembered([], []), 1)
