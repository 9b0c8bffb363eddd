"""agent/lookup/handouts.py: the file of keys handed to a login process outlives the daemon."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.host.process import Process
from agent.leases.keys import PublicKey
from agent.leases.lease import Lease
from agent.lookup.handouts import Given, HandOut, HandOuts, NotHandedOut
from tests.parts.leases import ed25519_key, make_lease
from tests.parts.proc import HELPER, INIT, OTHER, SSHD, Proc

KEY_A, KEY_B = ed25519_key(), ed25519_key()
A, B = KEY_A.fingerprint, KEY_B.fingerprint


def leases(key: PublicKey, *ids: str) -> list[Lease]:
    """Alice's one-time leases of a key, by their request ids."""
    return [make_lease("alice", key, request_id=each, uses=1) for each in ids]


def given(*ids: str) -> tuple[Given, ...]:
    """The entries that are written for them."""
    return tuple(Given(each) for each in ids)


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    """A /proc with one sshd and its helper."""
    return Proc(tmp_path)


@pytest.fixture
def handouts(tmp_path: Path, proc: Proc) -> HandOuts:
    """Open hand-outs, still empty."""
    opened = HandOuts(str(tmp_path / "handed"), str(proc.root))
    opened.open()
    return opened


def test_the_login_process_is_the_helpers_parent(handouts: HandOuts) -> None:
    """The login process is the sshd process that is the helper's parent."""
    assert handouts.login_process(HELPER) == SSHD


@pytest.mark.parametrize(
    ("name", "uid"), [("sh", 0), ("sshd", 65534), ("authorized-keys", 65534), ("sudo", 0)]
)
def test_only_sshd_itself_is_a_login_process(
    handouts: HandOuts, proc: Proc, name: str, uid: int
) -> None:
    """A parent that is not a process named sshd of root is refused."""
    proc.add(SSHD, name, parent=1, uid=uid)
    with pytest.raises(NotHandedOut, match="sshd must run it itself"):
        handouts.login_process(HELPER)


def test_an_sshd_in_a_container_gets_nothing(handouts: HandOuts, proc: Proc) -> None:
    """An sshd in a container is refused: its pam-account would not find the file, and admit all."""
    proc.add(SSHD, "sshd", parent=1, uid=0, inside=7)
    with pytest.raises(NotHandedOut, match="another PID namespace"):
        handouts.login_process(HELPER)


def test_a_helper_that_has_ended_gets_nothing(handouts: HandOuts, proc: Proc) -> None:
    """A process that is unknown, or whose parent has ended, is refused."""
    proc.end(SSHD)
    for pid in (HELPER, 12345):
        with pytest.raises(NotHandedOut):
            handouts.login_process(pid)


def test_another_daemon_finds_what_was_handed_out(
    tmp_path: Path, proc: Proc, handouts: HandOuts
) -> None:
    """A later daemon reads each key as it was last given, and which one was asked for last."""
    handouts.record(SSHD, leases(KEY_A, "1", "2"))
    handouts.record(SSHD, leases(KEY_B, "3"))
    handouts.record(SSHD, leases(KEY_A, "2", "4"))
    after = HandOuts(str(tmp_path / "handed"), str(proc.root))
    after.open()
    assert after.read(SSHD) == HandOut("alice", {A: given("2", "4"), B: given("3")}, A)
    assert after.read(OTHER) is None


def test_a_lookup_that_gives_no_one_time_key_is_the_latest(handouts: HandOuts) -> None:
    """After a lookup that gave no one-time key, no key counts as the latest."""
    handouts.record_other(HELPER)
    assert handouts.read(SSHD) is None
    handouts.record(SSHD, leases(KEY_A, "1"))
    handouts.record_other(HELPER)
    assert handouts.read(SSHD) == HandOut("alice", {A: given("1")}, None)


def test_a_file_stays_while_its_process_does(
    tmp_path: Path, handouts: HandOuts, proc: Proc
) -> None:
    """A file is removed when its process has ended, even if the process id is reused."""
    handouts.record(SSHD, leases(KEY_A, "1"))
    handouts.tend()
    assert [path.name for path in (tmp_path / "handed").iterdir()] == ["700-4711"]
    proc.add(Process(SSHD.pid, 9999), "sshd", parent=1, uid=0)
    handouts.tend()
    assert list((tmp_path / "handed").iterdir()) == []


DAMAGED = [
    "", "{", "[]", "{}", '{"given": [], "latest": 1}', "\xff",
    '{"os_user": "a", "given": {"x": ["1"]}, "latest": "x"}',
    '{"os_user": "a", "given": {}, "latest": "x"}',
]  # fmt: skip


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_file_is_not_taken_for_an_absent_one(
    tmp_path: Path, handouts: HandOuts, text: str
) -> None:
    """A damaged file raises an error, since its login must be refused."""
    (tmp_path / "handed" / str(SSHD)).write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError):  # noqa: PT011 - also the JSON library's and the codec's
        handouts.read(SSHD)


def test_nothing_is_given_that_cannot_be_recorded(tmp_path: Path, handouts: HandOuts) -> None:
    """A key is not handed out when the file cannot be written or is damaged."""
    (tmp_path / "handed" / str(SSHD)).write_text("{")
    with pytest.raises(NotHandedOut, match="cannot be recorded"):
        handouts.record(SSHD, leases(KEY_A, "1"))
    with pytest.raises(NotHandedOut):
        HandOuts("/proc/none", "/proc").record(OTHER, leases(KEY_A, "1"))


def test_a_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    """A hand-out folder that others can write to is refused."""
    folder = tmp_path / "open"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    with pytest.raises(PermissionError):
        HandOuts(str(folder)).open()


def test_the_file_is_readable_json(tmp_path: Path, handouts: HandOuts) -> None:
    """The file is JSON with request ids, pinned sources and options of the keys handed out."""
    second = make_lease(
        "alice", KEY_A, request_id="2", uses=1,
        pinned_source="192.0.2.0", options=("restrict", "pty"),
    )  # fmt: skip
    handouts.record(SSHD, [*leases(KEY_A, "1"), second])
    document = json.loads((tmp_path / "handed" / str(SSHD)).read_text())
    lines = {A: [["1", None, []], ["2", "192.0.2.0", ["restrict", "pty"]]]}
    assert document == {"os_user": "alice", "given": lines, "latest": A}
    assert handouts.read(SSHD) == HandOut(
        "alice", {A: (Given("1"), Given("2", "192.0.2.0", ("restrict", "pty")))}, A
    )


def test_nothing_is_handed_out_while_processes_are_hidden(handouts: HandOuts, proc: Proc) -> None:
    """Where /proc hides other users' processes, no one-time key is handed out."""
    proc.end(INIT)
    with pytest.raises(PermissionError, match="ProtectProc="):
        handouts.open()
    anew = HandOuts(handouts._folder, str(proc.root))
    with pytest.raises(NotHandedOut, match="hides other users' processes"):
        anew.record(SSHD, leases(KEY_A, "1"))


def test_a_process_of_unknown_state_has_not_ended(
    tmp_path: Path, handouts: HandOuts, proc: Proc
) -> None:
    """The file of a process whose state cannot be read is kept."""
    handouts.record(SSHD, leases(KEY_A, "1"))
    (proc.root / str(SSHD.pid) / "stat").write_text("")
    handouts.tend()
    assert [path.name for path in (tmp_path / "handed").iterdir()] == [str(SSHD)]
    proc.end(SSHD)
    handouts.tend()
    assert list((tmp_path / "handed").iterdir()) == []
