"""Files that are changed together are all restored when a write or the later check fails."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.sshd_setup.changes import Change, apply


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Inode, mode and content of every file."""
    return {
        path.name: (path.stat().st_ino, path.stat().st_mode, path.read_bytes())
        for path in folder.iterdir()
        if path.is_file()
    }


def test_changes_stay_and_no_temporary_file_is_left(tmp_path: Path) -> None:
    """A successful change writes and removes the files, and leaves no draft or copy."""
    changed, gone = tmp_path / "changed", tmp_path / "gone"
    changed.write_text("before")
    changed.chmod(0o640)
    gone.write_text("before")
    new = tmp_path / "new"
    with apply([Change(str(changed), "after"), Change(str(gone), None), Change(str(new), "after")]):
        assert changed.read_text() == "after"
    assert {path.name for path in tmp_path.iterdir()} == {"changed", "new"}
    assert changed.stat().st_mode & 0o777 == 0o640
    assert new.stat().st_mode & 0o777 == 0o644


def test_a_failed_check_restores_the_original_files(tmp_path: Path) -> None:
    """A failed check restores the original files with their inode, mode and content."""
    changed, gone = tmp_path / "changed", tmp_path / "gone"
    changed.write_text("before")
    gone.write_text("before")
    gone.chmod(0o600)
    before = snapshot(tmp_path)
    changes = [Change(str(changed), "after"), Change(str(gone), None)]
    changes.append(Change(str(tmp_path / "new"), "after"))
    with pytest.raises(LookupError), apply(changes):
        raise LookupError
    assert snapshot(tmp_path) == before


def test_a_file_that_cannot_be_written_takes_the_others_back(tmp_path: Path) -> None:
    """If one file cannot be written, the files already changed are restored."""
    first = tmp_path / "first"
    first.write_text("before")
    (tmp_path / "second").mkdir()
    before = snapshot(tmp_path)
    changes = [Change(str(first), "after"), Change(str(tmp_path / "second"), "after")]
    with pytest.raises(OSError, match="second"), apply(changes):
        pytest.fail("half of it was taken for all of it")
    assert snapshot(tmp_path) == before


def test_files_of_an_interrupted_run_are_no_obstacle(tmp_path: Path) -> None:
    """Drafts and copies that an interrupted run has left are neither used nor restored."""
    file = tmp_path / "file"
    file.write_text("before")
    for name in ("file.sixtykey-new", "file.sixtykey-kept"):
        (tmp_path / name).write_text("older")
    with pytest.raises(LookupError), apply([Change(str(file), "after")]):
        raise LookupError
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file": "before"}


def test_nothing_is_readable_by_more_than_before(tmp_path: Path) -> None:
    """A changed file keeps the mode and owner of the file that it replaces."""
    file = tmp_path / "file"
    file.write_text("before")
    file.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(file, 65534, 65534)
    owner = (file.stat().st_uid, file.stat().st_gid)
    with apply([Change(str(file), "after")]):
        pass
    assert file.stat().st_mode & 0o777 == 0o600
    assert (file.stat().st_uid, file.stat().st_gid) == owner
