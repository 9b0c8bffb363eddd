"""agent/leases/journal_file.py: whether a journal is in memory and needs no thread."""

from __future__ import annotations

from pathlib import Path

from agent.leases.journal_file import is_in_memory


def test_shared_memory_is_memory() -> None:
    """/dev/shm is a tmpfs (shm_overview(7)), as /run is."""
    assert is_in_memory("/dev/shm/leases.db")


def test_other_file_systems_are_not() -> None:
    """Whatever they are: only tmpfs is known to wait for nothing."""
    assert not is_in_memory("/proc/leases.db")


def test_a_place_that_is_not_there(tmp_path: Path) -> None:
    """Not known, so not memory."""
    assert not is_in_memory(str(tmp_path / "absent" / "leases.db"))
