"""agent/lookup/handouts.py: what a login process was handed, on a file that outlives the daemon."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.host.process import Process
from agent.lookup.handouts import HandOut, HandOuts, NotHandedOut

SSHD, OTHER = Process(700, 4711), Process(701, 4712)
A, B = "SHA256:a", "SHA256:b"


class Proc:
    """A /proc with an sshd process, its helper, and what else a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "proc"
        self.add(SSHD, "sshd", parent=1, uid=0)
        self.add(Process(900, 5000), "authorized-keys", parent=SSHD.pid, uid=65534)

    def add(self, process: Process, name: str, parent: int, uid: int) -> None:
        """One more process."""
        folder = self.root / str(process.pid)
        folder.mkdir(parents=True, exist_ok=True)
        rest = " ".join(["S", str(parent), *(["0"] * 17), str(process.started), "0"])
        (folder / "stat").write_text(f"{process.pid} ({name}) {rest}\n")
        (folder / "status").write_text(f"Name:\t{name}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")

    def end(self, process: Process) -> None:
        """It ends."""
        for name in ("stat", "status"):
            (self.root / str(process.pid) / name).unlink()


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    """One sshd, and its helper."""
    return Proc(tmp_path)


@pytest.fixture
def handouts(tmp_path: Path, proc: Proc) -> HandOuts:
    """Open, and empty."""
    opened = HandOuts(str(tmp_path / "handed"), str(proc.root))
    opened.open()
    return opened


def test_the_login_process_is_the_helpers_parent(handouts: HandOuts) -> None:
    """The sshd process in which PAM's account phase will run."""
    assert handouts.login_process(900) == SSHD


@pytest.mark.parametrize(
    ("name", "uid"), [("sh", 0), ("sshd", 65534), ("authorized-keys", 65534), ("sudo", 0)]
)
def test_only_sshd_itself_is_a_login_process(
    handouts: HandOuts, proc: Proc, name: str, uid: int
) -> None:
    """A wrapper, another program of root's, and somebody who calls himself sshd are refused."""
    proc.add(SSHD, name, parent=1, uid=uid)
    with pytest.raises(NotHandedOut, match="sshd must run it itself"):
        handouts.login_process(900)


def test_a_helper_that_has_ended_gets_nothing(handouts: HandOuts, proc: Proc) -> None:
    """Its process id may be somebody else's by now."""
    proc.end(SSHD)
    for pid in (900, 12345):
        with pytest.raises(NotHandedOut):
            handouts.login_process(pid)


def test_what_was_handed_out_is_found_by_another_daemon(
    tmp_path: Path, proc: Proc, handouts: HandOuts
) -> None:
    """Every key with its requests, and which one sshd asked for last."""
    handouts.record(SSHD, "alice", A, ("1", "2"))
    handouts.record(SSHD, "alice", B, ("3",))
    handouts.record(SSHD, "alice", A, ("2", "4"))
    after = HandOuts(str(tmp_path / "handed"), str(proc.root))
    after.open()
    assert after.read(SSHD) == HandOut("alice", {A: ("1", "2", "4"), B: ("3",)}, A)
    assert after.read(OTHER) is None


def test_a_lookup_that_gives_no_one_time_key_is_the_latest(handouts: HandOuts) -> None:
    """The login goes on by another key: none of those that were handed out is used by it."""
    handouts.record_other(900)
    assert handouts.read(SSHD) is None
    handouts.record(SSHD, "alice", A, ("1",))
    handouts.record_other(900)
    assert handouts.read(SSHD) == HandOut("alice", {A: ("1",)}, None)


def test_a_file_stays_while_its_process_does(
    tmp_path: Path, handouts: HandOuts, proc: Proc
) -> None:
    """It goes when the process has ended, also when its id was given to another one."""
    handouts.record(SSHD, "alice", A, ("1",))
    handouts.tend()
    assert [path.name for path in (tmp_path / "handed").iterdir()] == ["700-4711"]
    proc.add(Process(SSHD.pid, 9999), "sshd", parent=1, uid=0)
    handouts.tend()
    assert list((tmp_path / "handed").iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"given": [], "latest": 1}', "\xff"])
def test_a_damaged_file_is_no_absent_file(tmp_path: Path, handouts: HandOuts, text: str) -> None:
    """Whoever asks learns that there is one; a login that it is about is refused."""
    (tmp_path / "handed" / str(SSHD)).write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError):  # noqa: PT011 - also the JSON library's and the codec's
        handouts.read(SSHD)


def test_nothing_is_given_that_cannot_be_written_down(tmp_path: Path, handouts: HandOuts) -> None:
    """A full or missing folder, a damaged file: no hand-out."""
    (tmp_path / "handed" / str(SSHD)).write_text("{")
    with pytest.raises(NotHandedOut, match="cannot be written down"):
        handouts.record(SSHD, "alice", A, ("1",))
    with pytest.raises(NotHandedOut):
        HandOuts("/proc/none", "/proc").record(OTHER, "alice", A, ("1",))


def test_a_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    """Whoever can remove a file there could use a key twice."""
    folder = tmp_path / "open"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    with pytest.raises(PermissionError):
        HandOuts(str(folder)).open()


def test_the_file_is_json_that_people_can_read(tmp_path: Path, handouts: HandOuts) -> None:
    """An administrator may look what a login was handed."""
    handouts.record(SSHD, "alice", A, ("1",))
    document = json.loads((tmp_path / "handed" / str(SSHD)).read_text())
    assert document == {"os_user": "alice", "given": {A: ["1"]}, "latest": A}
