"""agent/host/process.py: which process is which, by what the kernel shows."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from agent.host.process import Process, ProcessGone, ProcessStatus, is_running, read_status
from tests.parts.host import IS_ROOT, tool


def test_this_process_is_found_with_its_parent() -> None:
    """A process is read with its id, its parent, its real user and a constant start time."""
    status = read_status(os.getpid())
    assert (status.process.pid, status.parent) == (os.getpid(), os.getppid())
    assert status.real_uid == os.getuid()
    assert read_status(os.getpid()).process == status.process
    assert is_running(status.process)


def children_of(pid: int) -> list[ProcessStatus]:
    """The processes whose parent this is."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(ProcessGone):
            found.append(read_status(int(name)))
    return [status for status in found if status.parent == pid]


@pytest.mark.skipif(not IS_ROOT, reason="only root may make a PID namespace")
def test_a_process_in_a_container_is_known_as_such() -> None:
    """A process in another PID namespace is contained; one of this namespace is not."""
    command = [tool("unshare", "util-linux"), "--pid", "--fork", "--kill-child", "sleep", "60"]
    with subprocess.Popen(command) as outside:
        try:
            while not (inside := children_of(outside.pid)):
                assert outside.poll() is None
                time.sleep(0.01)
            assert inside[0].contained
            assert not read_status(outside.pid).contained
            assert not read_status(os.getpid()).contained
        finally:
            outside.kill()


def test_a_process_that_has_ended_is_gone() -> None:
    """An ended process is gone, and a reused process id with another start is not it."""
    child = subprocess.Popen(["sleep", "60"])
    process = read_status(child.pid).process
    assert is_running(process)
    assert not is_running(Process(process.pid, process.started + 1))
    child.kill()
    child.wait()
    assert not is_running(process)
    with pytest.raises(ProcessGone):
        read_status(process.pid)


@pytest.mark.parametrize("name", ["sshd", ") 1 1 (", "a) R 1 (b", "(((", ")))"])
def test_a_name_of_the_process_cannot_pose_as_other_fields(tmp_path: Path, name: str) -> None:
    """A process's name cannot change the fields that are read for it."""
    rest = " ".join(["S", "7", *(["0"] * 17), "4711", "0"])
    (tmp_path / "42").mkdir()
    (tmp_path / "42" / "stat").write_text(f"42 ({name}) {rest}\n")
    (tmp_path / "42" / "status").write_text(f"Name:\t{name}\nUid:\t0\t1\t2\t3\n")
    status = read_status(42, str(tmp_path))
    assert (status.process, status.parent, status.real_uid) == (Process(42, 4711), 7, 0)
    assert status.name == name


@pytest.mark.parametrize("stat", ["", "42", "42 (x) S", "42 (x) S a b c"])
def test_an_unreadable_status_does_not_mean_that_the_process_ended(
    tmp_path: Path, stat: str
) -> None:
    """An incomplete stat file raises OSError, so its process does not count as ended."""
    (tmp_path / "42").mkdir()
    (tmp_path / "42" / "stat").write_text(stat)
    (tmp_path / "42" / "status").write_text("Uid:\t0\t0\t0\t0\n")
    with pytest.raises(OSError, match="does not show it whole"):
        is_running(Process(42, 4711), str(tmp_path))


def test_without_a_descriptor_no_process_has_ended() -> None:
    """With no file descriptor left, OSError is raised and no process counts as ended."""
    process = read_status(os.getpid()).process
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            is_running(process)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
