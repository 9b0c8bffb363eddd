"""agent/leases/journal_file.py: which files may be the journal, and whether it is in place."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.leases.journal_file import SIDE_FILES, copy_owned, is_in_memory
from agent.leases.lease import NotDurable
from tests.parts.host import IS_ROOT, ROOT
from tests.parts.journals import Disk
from tests.parts.leases import make_lease, mark

NOBODY = 65534
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can give a file away")


@pytest.fixture(name="disk")
def _disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path)
    yield disk
    disk.close()


def test_shared_memory_is_memory() -> None:
    """/dev/shm counts as memory, since it is a tmpfs (shm_overview(7))."""
    assert is_in_memory("/dev/shm/leases.db")


def test_other_file_systems_are_not_memory() -> None:
    """A file system other than tmpfs does not count as memory."""
    assert not is_in_memory("/proc/leases.db")


def test_a_missing_path_is_not_memory(tmp_path: Path) -> None:
    """A path that does not exist does not count as memory."""
    assert not is_in_memory(str(tmp_path / "absent" / "leases.db"))


def spoil(file: Path, kind: str) -> None:
    """Change a file so that another user could have written it."""
    file.touch(0o600)
    if kind == "writable by others":
        file.chmod(0o622)
    elif kind == "two names":
        os.link(file, file.with_name("other"))
    elif kind == "another user's":
        os.chown(file, NOBODY, -1)
    elif kind == "a link":
        file.replace(file.with_name("target"))
        file.symlink_to(file.with_name("target"))
    else:
        file.unlink()
        file.mkdir()


KINDS = [
    "writable by others", "two names", pytest.param("another user's", marks=needs_root), "a link",
    "a folder",
]  # fmt: skip


@pytest.mark.parametrize("suffix", ["", *SIDE_FILES])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_others_could_have_written_is_not_read(
    disk: Disk, kind: str, suffix: str
) -> None:
    """A journal or SQLite side file that another user could have written is not opened."""
    disk.open().record(make_lease())
    disk.close()
    spoil(disk.path.with_name(disk.path.name + suffix), kind)
    before = {file: file.lstat().st_mtime_ns for file in disk.path.parent.iterdir()}
    journal = disk.open()
    assert not journal.sound
    assert (disk.found, len(disk.unusable)) == (None, 1)
    assert {file: file.lstat().st_mtime_ns for file in disk.path.parent.iterdir()} == before


@pytest.mark.parametrize("mode", [0o775, 0o777, 0o1777])
def test_a_folder_that_others_can_write_to_is_not_used(disk: Disk, mode: int) -> None:
    """A journal's folder that others can write to is refused, even with the sticky bit."""
    disk.path.parent.chmod(mode)
    assert not disk.open().sound
    assert "its folder" in disk.unusable[0]
    assert list(disk.path.parent.iterdir()) == []


@needs_root
def test_a_folder_of_somebody_else_is_not_used(disk: Disk) -> None:
    """A journal's folder that another user owns is refused."""
    os.chown(disk.path.parent, NOBODY, -1)
    assert not disk.open().sound
    os.chown(disk.path.parent, 0, -1)
    assert disk.open().sound


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_a_read_only_journal_gets_the_same_checks(
    tmp_path: Path, disk: Disk, kind: str, suffix: str
) -> None:
    """A read-only journal is copied only if no other user could have written it."""
    disk.open().record(make_lease())
    disk.close()
    spoil(disk.path.with_name(disk.path.name + suffix), kind)
    copy = tmp_path / "copy"
    copy.mkdir()
    with pytest.raises(OSError, match=r"."):
        copy_owned(str(disk.path), str(copy / "leases.db"))


@pytest.mark.parametrize(
    "name", ["leases.db", pytest.param("leases.db-wal", id="its write-ahead log")]
)
@pytest.mark.parametrize("how", ["removed", "replaced", "moved and linked"])
def test_a_live_journal_that_is_gone_is_noticed(disk: Disk, name: str, how: str) -> None:
    """When a live journal is removed or replaced, further writes to it are refused."""
    journal = disk.open()
    journal.check_place()
    file = disk.path.with_name(name)
    if how == "removed":
        file.unlink()
    elif how == "replaced":
        file.with_name("new").write_bytes(file.read_bytes())
        file.with_name("new").replace(file)
    else:
        file.rename(file.with_name("elsewhere"))
        file.symlink_to(file.with_name("elsewhere"))
    with pytest.raises(NotDurable):
        journal.check_place()
    with pytest.raises(NotDurable):
        journal.record(make_lease())
    with pytest.raises(NotDurable):
        journal.remove([])


def test_a_live_journal_that_was_opened_to_others_is_noticed(disk: Disk) -> None:
    """When others may write to a live journal's folder, the journal is no longer used."""
    journal = disk.open()
    disk.path.parent.chmod(0o777)
    with pytest.raises(NotDurable, match="its folder"):
        journal.check_place()
    assert not journal.sound


def test_looking_after_a_journal_does_not_let_go_of_it(disk: Disk) -> None:
    """Checking a journal's place keeps SQLite's lock, so no second daemon can open it."""
    journal = disk.open()
    journal.record(make_lease(mark=mark(1)))
    journal.check_place()
    # A new process, not a fork: SQLite's locks belong to a process.
    code = (
        "import sys; from agent.config.settings import Keys\n"
        "from agent.leases.journal import Journal\n"
        "print(Journal(sys.argv[1], 'b').open(Keys(), 0.0, print, print))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(disk.path)],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    assert "database is locked" in said
    assert said.endswith("None\n")
