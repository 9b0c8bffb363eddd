"""agent/leases/journal_before.py: an upgrade from 0.1.0 loses nothing that was acknowledged."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config.limits import LIMITS
from agent.leases.lease import AcceptedMark, Horizon, Lease
from tests.parts.journals import BOOT, NOW, Disk
from tests.parts.leases import ed25519_key, mark

# Written by 0.1.0 itself, and dumped.
WRITTEN = Path(__file__).with_name("journal-0.1.0.sql")
ALICE = Lease(
    "alice", ed25519_key(1), "00000000-0000-4000-8000-00000000000a", "AKIAIOSFODNN7EXAMPLE",
    "127.0.0.1", 990.0, 1050.0,
)  # fmt: skip
BOB = Lease(
    "bob", ed25519_key(2), "00000000-0000-4000-8000-00000000000b", "uid:1000", "unix", 991.5, 1051.5
)
MARKS = [
    AcceptedMark(mark(1), ALICE.request_id, ""),
    # Its lease was revoked: a replay of its request must not restore it.
    AcceptedMark(mark(3, 1_799_999_999.0), "00000000-0000-4000-8000-00000000000c", ""),
]
# 0.1.0 kept every mark for at least 15 minutes, and stored no horizon.
HORIZON = Horizon(lost_at=NOW - LIMITS.clock_skew_seconds)


@pytest.fixture(name="disk")
def _disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path)
    database = sqlite3.connect(disk.path)
    disk.path.chmod(0o600)
    database.executescript(WRITTEN.read_text("utf-8"))
    database.close()
    yield disk
    disk.close()


def version(disk: Disk) -> int:
    """The version that the closed file states."""
    disk.close()
    database = sqlite3.connect(disk.path)
    found = database.execute("PRAGMA user_version").fetchone()[0]
    database.close()
    return int(found)


def test_leases_and_marks_are_taken_over_and_written_anew(disk: Disk) -> None:
    """Leases and marks of 0.1.0 are written as a journal of today's version, and stay so."""
    for _ in range(3):
        assert disk.reopen().leases == [ALICE, BOB]
        assert (disk.marks, disk.horizon) == (MARKS, HORIZON)
        assert version(disk) == 3
    assert disk.reports == disk.unusable == []


def test_a_crash_before_it_is_written_anew_loses_nothing(disk: Disk) -> None:
    """Reading a journal of 0.1.0 does not change it, so a crash then loses nothing."""
    assert not disk.begin().sound
    assert version(disk) == 2
    assert disk.reopen().leases == [ALICE, BOB]
    assert disk.marks == MARKS


def test_a_journal_that_cannot_be_converted_stays_unchanged(disk: Disk) -> None:
    """A conversion that fails midway leaves the old journal whole."""

    def leases() -> Iterator[Lease]:
        yield ALICE
        raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(Exception, match="full"):
        disk.begin().rewrite(leases(), MARKS, HORIZON)
    assert version(disk) == 2
    assert disk.reopen().leases == [ALICE, BOB]


def test_a_reboot_between_the_versions_ends_its_leases(disk: Disk) -> None:
    """After a reboot, an old journal's leases end; its marks stay, with a loss at the boot."""
    assert disk.reopen("another-boot").leases == []
    assert (disk.marks, disk.horizon) == (MARKS, Horizon(lost_at=0.0))
    disk.close()
    assert disk.reopen(BOOT).leases == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE leases SET os_user = 'root' WHERE os_user = 'bob'", "DROP VIEW push",
        "PRAGMA user_version = 1", "PRAGMA user_version = 4",
    ],
)  # fmt: skip
def test_another_layout_is_set_aside(disk: Disk, statement: str) -> None:
    """A journal with a changed row, other tables or an unknown version is set aside."""
    disk.change(statement)
    assert (disk.reopen().leases, disk.marks) == ([], [])
    assert disk.horizon == Horizon(lost_at=NOW)
    assert "set aside" in disk.reports[0]


def test_damaged_marks_of_0_1_0_cost_no_live_lease(disk: Disk) -> None:
    """With damaged marks in a journal of 0.1.0, its live leases are still restored."""
    disk.change("UPDATE answered SET signed_at = 0")
    disk.begin()
    assert disk.found is not None
    assert disk.found.leases == [ALICE, BOB]
    disk.open()
    assert (disk.marks, disk.horizon) == ([], Horizon(lost_at=NOW))
