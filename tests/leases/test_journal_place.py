"""The default journal has its own folder, and a journal of 0.1.0 is moved into it."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import pytest

from agent.config.settings import Keys
from agent.leases.journal import Journal
from agent.leases.journal_place import prepare
from agent.leases.lease import Lease
from tests.parts.leases import make_lease

BOOT = "6b8a1f6e-0000-4000-8000-000000000001"


class Place:
    """A folder for sockets, with the journal's former path in it and its present one."""

    def __init__(self, folder: Path) -> None:
        self.former = folder / "leases.db"
        self.path = folder / "journal" / "leases.db"

    def prepare(self, path: Optional[Path] = None) -> None:
        """Prepare the journal at `path`, by default the default one, as a daemon does."""
        prepare(str(path or self.path), str(self.path), str(self.former))

    def read(self, path: Path) -> tuple[Journal, list[Lease]]:
        """Open the journal at a path and return it with its leases. Any problem fails the test."""
        journal = Journal(str(path), BOOT)
        found = journal.open(Keys(), 1000.0, pytest.fail, pytest.fail)
        assert found is not None
        if not journal.sound:
            journal.rewrite(found.leases, [], found.horizon)
        return journal, found.leases


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Both paths; no journal is at either yet."""
    return Place(tmp_path)


def test_the_default_folder_is_made_for_nobody_else(place: Place) -> None:
    """A missing default folder is made with mode 0700, and a second start keeps it."""
    place.prepare()
    place.prepare()
    assert place.path.parent.stat().st_mode & 0o777 == 0o700


def test_other_folders_are_the_administrators(place: Place) -> None:
    """The folder of a configured journal is not made, and 0.1.0's journal not moved there."""
    place.former.write_text("")
    place.prepare(place.former.parent / "elsewhere" / "leases.db")
    assert [path.name for path in place.former.parent.iterdir()] == ["leases.db"]


def test_a_journal_is_moved_under_a_daemon_that_writes_to_it(place: Place) -> None:
    """Leases that the old daemon records before and after the move are both restored."""
    before, after = make_lease("before"), make_lease("after")
    old, _ = place.read(place.former)
    old.record(before)
    place.prepare()
    old.record(after)
    old.close()
    assert place.path.with_name("leases.db-wal").stat().st_size > 0
    new, found = place.read(place.path)
    new.close()
    assert sorted(lease.os_user for lease in found) == ["after", "before"]
    assert not place.former.exists()


@pytest.mark.parametrize("ends", ["closed", "killed"])
def test_a_move_that_was_cut_off_is_completed(place: Place, ends: str) -> None:
    """A move that stopped after the write-ahead log is completed at the next start."""
    lease = make_lease("alice")
    old, _ = place.read(place.former)
    old.record(lease)
    place.path.parent.mkdir(0o700)
    log = place.former.with_name("leases.db-wal")
    log.rename(place.path.with_name(log.name))
    if ends == "closed":
        old.close()
    place.prepare()
    old.close()
    new, found = place.read(place.path)
    new.close()
    assert found == [lease]


def test_a_journal_that_is_there_is_not_replaced(place: Place) -> None:
    """A journal at the new place is not replaced by a file at the former one."""
    lease = make_lease("alice")
    place.prepare()
    journal, _ = place.read(place.path)
    journal.record(lease)
    journal.close()
    place.former.write_text("")
    place.prepare()
    journal, found = place.read(place.path)
    journal.close()
    assert found == [lease]
