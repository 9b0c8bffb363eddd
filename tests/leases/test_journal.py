"""The journal returns what was recorded, and a damaged journal gives no lease."""

from __future__ import annotations

import dataclasses
import random
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config import settings as config
from agent.config.limits import LIMITS
from agent.leases.lease import AcceptedMark, Horizon, NotDurable
from tests.parts.journals import NOW, Disk
from tests.parts.leases import accepted, ed25519_key, make_lease, mark


@pytest.fixture(name="disk")
def _disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path)
    yield disk
    disk.close()


def test_recorded_leases_and_marks_are_read_back(disk: Disk) -> None:
    """Every field of a lease is restored, and its end is the one recorded."""
    lease, other = make_lease("alice"), make_lease("bob", at=1001.5)
    journal = disk.open()
    journal.record(lease)
    journal.record(other)
    assert disk.reopen().leases == [lease, other]
    assert disk.reports == disk.unusable == []


def test_records_survive_without_a_close(disk: Disk, tmp_path: Path) -> None:
    """After a SIGKILL, another process reads leases and marks from the files as they are.

    A mark is of the lease's sharer, if it has one, and not of its principal.
    """
    journal = disk.open()
    lease = make_lease(mark=mark(1), sharer="ec2")
    journal.record(lease)
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tmp_path.glob("leases.db*"):
        shutil.copy(file, copy)
    later = Disk(copy)
    found = later.reopen()
    later.close()
    assert [each.request_id for each in found.leases] == [lease.request_id]
    assert later.marks == [accepted(lease)]


def test_a_newer_push_of_a_key_replaces_the_older(disk: Disk) -> None:
    """A newer push of a key replaces that user's older lease, and no other user's."""
    key, journal = ed25519_key(), disk.open()
    for lease in (make_lease(key=key), newer := make_lease(key=key, at=1030.0)):
        journal.record(lease)
    journal.record(other := make_lease("bob", key))
    assert sorted(disk.reopen().leases, key=lambda each: each.os_user) == [newer, other]


def test_removed_leases_stay_removed_and_their_requests_remembered(disk: Disk) -> None:
    """A revoked lease is gone after a restart, and the mark of its request is kept."""
    journal = disk.open()
    lease = make_lease(mark=mark(7))
    journal.record(lease)
    journal.remove([lease])
    assert (disk.reopen().leases, disk.marks) == ([], [accepted(lease)])


def test_ended_leases_are_removed_from_the_file(disk: Disk) -> None:
    """A lease is removed by boot time at its end, a mark by the wall clock after its date."""
    journal = disk.open()
    journal.record(make_lease(mark=mark(1, 5_000.0)))
    skew = LIMITS.clock_skew_seconds
    journal.forget(1059.9, 5_000.0 + skew, Horizon())
    found = disk.reopen()
    assert len(found.leases) == len(disk.marks) == 1
    disk.open().forget(1060.0, 5_000.1 + skew, Horizon())
    assert (disk.reopen().leases, disk.marks) == ([], [])


def test_forgetting_marks_raises_the_horizon_durably(disk: Disk) -> None:
    """Forgetting a mark stores a horizon of at least the mark's date."""
    journal = disk.open()
    journal.record(make_lease(mark=mark(1, 5_000.0)))
    journal.record(make_lease(mark=mark(2, 9_000.0)))
    journal.forget(NOW, 7_000.0, Horizon(4_000.0, 3.0))
    assert disk.reopen().horizon == Horizon(5_000.0, 3.0)
    assert [each.mark for each in disk.marks] == [mark(2, 9_000.0)]
    disk.open().forget(NOW, 7_000.0, Horizon(6_000.0))
    assert disk.reopen().horizon == Horizon(6_000.0)


def test_another_boot_ends_every_lease_and_no_request(disk: Disk) -> None:
    """After a reboot no lease is restored, and every mark is."""
    journal = disk.open()
    journal.record(make_lease(mark=mark(3)))
    found = disk.reopen("another-boot")
    assert found.leases == []
    assert [each.mark for each in disk.marks] == [mark(3)]


def test_another_boot_counts_as_a_loss_until_then(disk: Disk) -> None:
    """A reboot counts as a loss at the instant of the boot, since writes may be missing."""
    disk.open().forget(NOW, 0.0, Horizon(5_000.0, 77.0))
    for _ in range(2):
        assert disk.reopen("another-boot").horizon == Horizon(5_000.0, 0.0)
    assert disk.reopen("a-third").horizon == Horizon(5_000.0, 0.0)


def test_no_journal_counts_as_a_loss_before_now(disk: Disk) -> None:
    """A missing journal counts as a loss before now, and the next start finds the same loss."""
    lost = Horizon(lost_at=NOW - LIMITS.restart_seconds)
    assert disk.reopen().horizon == lost
    assert disk.reopen().horizon == lost


def test_restored_leases_obey_the_present_settings(disk: Disk) -> None:
    """A shorter lifetime shortens restored leases; a key of a disallowed type is dropped."""
    disk.open().record(make_lease())
    short = config.Keys(lifetime=10)
    (lease,) = disk.reopen(keys=short).leases
    assert lease.expires_at == 1010.0
    assert disk.reopen(keys=config.Keys(types=("ssh-rsa",))).leases == []


def test_the_file_is_readable_by_its_owner_only(disk: Disk) -> None:
    """The journal and the files beside it have the mode 0600."""
    disk.open().record(make_lease())
    files = list(disk.path.parent.iterdir())
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_symbolic_link_is_not_followed(disk: Disk, tmp_path: Path) -> None:
    """A journal path that is a symbolic link is refused, and its target is not written."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"")
    disk.path.symlink_to(victim)
    assert not disk.open().sound
    assert (disk.found, len(disk.unusable)) == (None, 1)
    assert victim.read_bytes() == b""


def test_two_daemons_never_share_a_journal(disk: Disk, tmp_path: Path) -> None:
    """A second daemon is refused the journal, and the first one's records stay whole."""
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
    assert disk.found is not None
    assert disk.found.leases == []
    # Every later start of this boot finds the same loss.
    assert disk.horizon == Horizon(lost_at=NOW)
    assert len(disk.reports) == 1
    assert "set aside" in disk.reports[0]
    assert disk.path.with_name("leases.db.damaged").exists()
    lease = make_lease()
    journal.record(lease)
    assert disk.reopen().leases == [lease]
    assert disk.horizon == Horizon(lost_at=NOW)


@pytest.mark.parametrize(
    "content", [b"no database at all" * 100, b"\0" * 8192, b"SQLite format 3\0"]
)
def test_a_file_that_is_not_a_journal_is_set_aside(content: bytes, disk: Disk) -> None:
    """A file that is no journal is reported and kept, and a new journal replaces it."""
    disk.path.write_bytes(content)
    _set_aside(disk)


def test_another_version_is_set_aside(disk: Disk) -> None:
    """A journal of an unknown version is set aside."""
    disk.open().record(make_lease())
    disk.change("PRAGMA user_version = 99")
    _set_aside(disk)


def test_missing_tables_and_columns_are_set_aside(disk: Disk) -> None:
    """A file with our version and other tables is set aside as damaged."""
    disk.open()
    disk.close()
    with sqlite3.connect(disk.path) as database:
        database.execute("DROP TABLE leases")
        database.execute("CREATE TABLE leases (something TEXT)")
    database.close()
    _set_aside(disk)


def test_a_truncated_file_is_set_aside(disk: Disk) -> None:
    """A truncated journal is set aside."""
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
        ("principal", b"\xff\xfe"), ("source", "10.0.0.1"), ("uses", 7), ("options", "pty"),
        ("pinned_source", "10.0.0.1"),
    ],
)  # fmt: skip
def test_no_altered_row_is_believed(column: str, value: object, disk: Disk) -> None:
    """A lease altered on disk has the journal set aside, and no lease of it is served."""
    disk.open().record(make_lease("alice"))
    disk.change(f"UPDATE leases SET {column} = ?", value)  # noqa: S608 - of this test
    _set_aside(disk)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE marks SET dated = 0", "UPDATE marks SET mark = x'00'",
        "UPDATE marks SET request_id = 'another'", "UPDATE marks SET principal = 'another'",
        "INSERT INTO marks VALUES (x'00', 0.0, 'a', 'b', x'00')",
    ],
)  # fmt: skip
def test_damaged_marks_cost_no_live_lease(disk: Disk, statement: str) -> None:
    """With damaged marks, live leases are still restored and the marks count as lost."""
    lease = make_lease(mark=mark(1))
    disk.open().record(lease)
    disk.change(statement)
    disk.begin()
    assert disk.found is not None
    assert [each.request_id for each in disk.found.leases] == [lease.request_id]
    disk.open()
    assert "set aside" in disk.reports[0]
    assert (disk.marks, disk.horizon) == ([], Horizon(lost_at=NOW))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE horizon SET dated = -1e300", "UPDATE horizon SET lost_at = NULL",
        "DELETE FROM horizon", "INSERT INTO horizon SELECT * FROM horizon",
    ],
)  # fmt: skip
def test_a_horizon_that_was_changed_is_a_loss(disk: Disk, statement: str) -> None:
    """A horizon that was lowered, removed or doubled has the journal set aside."""
    disk.open()
    disk.change(statement)
    _set_aside(disk)


def test_rewrite_leaves_exactly_what_it_was_given(disk: Disk) -> None:
    """A rewrite leaves exactly the given leases, marks and horizon in the journal."""
    journal = disk.open()
    journal.record(make_lease("revoked meanwhile", mark=mark(1)))
    lease, known = make_lease("alice"), AcceptedMark(mark(2), "id", "somebody")
    journal.rewrite([lease], [known], Horizon(7.0, 8.0))
    assert (disk.reopen().leases, disk.marks) == ([lease], [known])
    assert disk.horizon == Horizon(7.0, 8.0)


@pytest.mark.parametrize("seed", range(40))
def test_random_damage_lets_nobody_in(seed: int, disk: Disk) -> None:
    """After random damage, a journal yields only leases that were recorded, or none."""
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
    for lease in [] if disk.found is None else disk.found.leases:
        known = recorded[lease.request_id]
        assert lease == dataclasses.replace(known, mark=None)
    assert set(disk.marks) <= {accepted(lease) for lease in leases}
    if journal.sound:
        journal.record(make_lease("later"))
    else:
        assert disk.unusable
