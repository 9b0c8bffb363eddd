"""The helper's --chain runs another command after ours, which cannot harm our keys."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from tests.parts.stub_lookup import SSHD_ENVIRONMENT, Helper, Ran, StubLookup, answering

OURS = (
    b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMK0Y9W5xHsCUTxFbtxgmKknb1b6ELRlmmGNbZxtr1yv"
    b" 0f8fad5b-d9cb-469f-a165-70867728950e\n"
)
THEIRS = b'command="true" ssh-rsa AAAA of theirs\n'
FINGERPRINT = "SHA256:" + "A" * 43

Chained = Callable[..., Ran]


def script(path: Path, text: str) -> Path:
    """Write an executable shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def chained(helper: Helper, tmp_path: Path) -> Iterator[Chained]:
    """Return a function that runs the helper with a shell script as its chained command.

    The daemon has a key for the user.
    """
    with StubLookup(tmp_path, answering(OURS)) as stub:

        def run(text: str, *words: str) -> Ran:
            path = script(tmp_path / "chained", text)
            return helper.run("--socket", stub.path, "--chain", str(path), "root", *words)

        yield run


def test_both_are_printed_ours_first(chained: Chained) -> None:
    """A chained command's output follows our lines unchanged, with or without a final newline."""
    assert chained("printf '%s' 'their line'").out == OURS + b"their line"
    assert chained("echo 'their line'").warnings == []


def test_user_and_fingerprint_follow_the_chained_words(helper: Helper, tmp_path: Path) -> None:
    """The chained command is split at white space; user and fingerprint follow unchanged."""
    path = script(tmp_path / "chained", 'for word; do echo "<$word>"; done')
    for words in (["root"], ["two words", "$(id)"], ["root", FINGERPRINT]):
        ran = helper.run("--socket", str(tmp_path / "no"), "--chain", f" {path}  ssh  -x\t", *words)
        assert ran.out.decode().splitlines() == ["<ssh>", "<-x>", *(f"<{word}>" for word in words)]


def test_the_chained_command_gets_sshds_environment(chained: Chained, tmp_path: Path) -> None:
    """The chained command gets the environment, signals and stdin that sshd gives its child."""
    ran = chained("env; grep SigIgn /proc/$$/status; readlink /proc/$$/fd/0; cat; pwd")
    rows = ran.out.decode().splitlines()[1:]
    environment = {row for row in rows if "=" in row and not row.startswith(("PWD", "_", "OLDPWD"))}
    assert environment == {f"{name}={value}" for name, value in SSHD_ENVIRONMENT.items()}
    ignored = int(rows[-3].split()[1], 16)
    assert not ignored & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1)
    assert rows[-2:] == ["/dev/null", str(tmp_path)]


def test_an_ignored_sigchld_does_not_hide_a_failure(helper: Helper, tmp_path: Path) -> None:
    """If the helper's parent ignores SIGCHLD, a chained command's status still decides."""
    # dash does not ignore it.
    program = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
    ignoring = [sys.executable, "-c", f"{program}; os.execv(sys.argv[1], sys.argv[1:])"]
    for status, out in ((0, b"theirs\n"), (1, b"")):
        path = script(tmp_path / "chained", f"echo theirs; exit {status}")
        words = ("--socket", str(tmp_path / "no"), "--chain", str(path), "root")
        ran = helper.run(*words, prefix=ignoring)
        assert (ran.status, ran.out, ran.err) == (0, out, b"")


def test_the_chained_command_gets_no_other_descriptor(chained: Chained) -> None:
    """The chained command has descriptors 0, 1 and 2, and not the ends of the helper's pipe."""
    rows = chained("exec ls /proc/self/fd").out.decode().splitlines()[1:]
    assert sorted(rows) == ["0", "1", "2", "3"]  # the last is of ls itself


def test_a_chained_command_inherits_stderr(chained: Chained) -> None:
    """The chained command's stderr is the helper's stderr."""
    assert chained("echo oops >&2").err == b"oops\n"


@pytest.mark.parametrize(
    ("end", "status"),
    [("exit 1", b"failed: 1"), ("exit 255", b"failed: 255"), ("kill -TERM $$", b"failed: -15")],
)
def test_a_failing_chained_command_lets_nobody_in(
    chained: Chained, end: str, status: bytes
) -> None:
    """The output of a chained command that fails is dropped, and a warning gives its status."""
    ran = chained(f"echo '{THEIRS.decode()}'; {end}")
    assert (ran.status, ran.out, ran.err, len(ran.warnings)) == (0, OURS, b"", 1)
    assert status in ran.warnings[0]
    assert b"chained" in ran.warnings[0]


@pytest.mark.parametrize(
    "text",
    ["exec sleep 1000", "sleep 1000", "exec >&-; exec sleep 1000", "trap '' TERM HUP; sleep 1000",
     "while :; do echo x; sleep 0.01; done"],
)  # fmt: skip
def test_a_hanging_chained_command_is_killed(chained: Chained, tmp_path: Path, text: str) -> None:
    """A chained command that does not end is killed with its children; our keys are printed."""
    # The fifth field is the process group (proc(5)), which is the command's own.
    number = f"echo $$ $(cut -d ' ' -f 5 /proc/$$/stat) > {tmp_path}/pid"
    ran = chained(f"{number}; echo theirs; {text}")
    assert (ran.status, ran.out, ran.err, len(ran.warnings)) == (0, OURS, b"", 1)
    leader, group = map(int, (tmp_path / "pid").read_text().split())
    assert leader == group
    # Killed processes are listed until the process that inherits them has waited for them.
    deadline = time.monotonic() + 20
    while any(True for _ in members(group)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert list(members(group)) == []


def members(group: int) -> Iterator[str]:
    """The running processes of a process group."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, pgrp = stat.read_text().rpartition(")")[2].split()[:3]
            if int(pgrp) == group and state not in "ZX":
                yield stat.parent.name


@pytest.mark.parametrize("leave", ["sleep 1000 &", "setsid sleep 1000 &", "(exec sleep 1000) &"])
def test_a_child_that_holds_stdout_is_not_waited_for(
    chained: Chained, tmp_path: Path, leave: str
) -> None:
    """A background process that keeps stdout open does not delay the helper.

    It would run for 1000 seconds, and so would the helper if it waited for the end of the pipe.
    """
    ran = chained(f"{leave}\necho $! > {tmp_path}/left; echo theirs")
    left = int((tmp_path / "left").read_text())
    os.kill(left, signal.SIGKILL)  # fails if it has ended
    assert (ran.status, ran.out, ran.warnings) == (0, OURS + b"theirs\n", [])


def test_a_child_that_writes_a_little_later_is_read(chained: Chained) -> None:
    """Output that a child writes shortly after the chained command has ended is printed."""
    assert chained("(sleep 0.05; echo later) &").out == OURS + b"later\n"


def test_a_chained_commands_large_output_is_bounded(chained: Chained) -> None:
    """Chained output larger than a pipe is printed whole; more than a mebibyte is dropped."""
    assert chained("head -c 900000 /dev/zero").out == OURS + bytes(900_000)
    for text in ("yes", "head -c 1100000 /dev/zero", "yes & echo theirs"):
        ran = chained(text)
        assert (ran.status, ran.out, len(ran.warnings)) == (0, OURS, 1)


@pytest.mark.parametrize("kind", ["missing", "not executable", "a directory", "not a program"])
def test_a_chained_command_that_cannot_be_run_is_reported(
    helper: Helper, tmp_path: Path, kind: str
) -> None:
    """If the chained command cannot be run, our keys are printed and a warning names it."""
    path = tmp_path / "chained"
    if kind == "a directory":
        path.mkdir()
    elif kind != "missing":
        path.write_text("neither a script nor a program")
        path.chmod(0o644 if kind == "not executable" else 0o755)
    with StubLookup(tmp_path, answering(OURS)) as stub:
        ran = helper.run("--socket", stub.path, "--chain", f"{path} x", "root")
    assert (ran.status, ran.out, ran.err, len(ran.warnings)) == (0, OURS, b"", 1)
    assert str(path).encode() in ran.warnings[0]


def test_the_chain_works_while_the_daemon_is_away(helper: Helper, tmp_path: Path) -> None:
    """While the daemon is away, the chained command's keys are printed, with one warning."""
    path = script(tmp_path / "chained", "echo theirs")
    ran = helper.run("--socket", str(tmp_path / "no"), "--chain", str(path), "root")
    assert (ran.status, ran.out, ran.err, len(ran.warnings)) == (0, b"theirs\n", b"", 1)


def test_a_blank_chained_command_is_ignored(helper: Helper, tmp_path: Path) -> None:
    """A blank chained command is ignored."""
    with StubLookup(tmp_path, answering(OURS)) as stub:
        ran = helper.run("--socket", stub.path, "--chain", " ", "root")
    assert (ran.status, ran.out, ran.warnings) == (0, OURS, [])


def test_our_lines_do_not_wait_for_the_chained_command(helper: Helper, tmp_path: Path) -> None:
    """Our lines are printed before the chained command has written anything."""
    os.mkfifo(tmp_path / "go")
    path = script(tmp_path / "chained", f"read line < {tmp_path}/go; echo theirs")
    with (
        StubLookup(tmp_path, answering(OURS)) as stub,
        helper.start("--socket", stub.path, "--chain", str(path), "root") as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == OURS
        (tmp_path / "go").write_text("go\n")
        assert process.stdout.read() == b"theirs\n"
        assert process.wait(60) == 0


def test_a_chained_command_has_at_most_64_words(helper: Helper, tmp_path: Path) -> None:
    """A chained command of 64 words is run; one of 65 words is not, with a warning."""
    with StubLookup(tmp_path, answering(OURS)) as stub:

        def run(words: list[str]) -> Ran:
            command = " ".join(["/bin/echo", *words])
            return helper.run("--socket", stub.path, "--chain", command, "root")

        ran, refused = run(["x"] * 63), run(["x"] * 64)
    assert (ran.status, ran.out, ran.warnings) == (0, OURS + b"x " * 63 + b"root\n", [])
    assert (refused.status, refused.out, refused.err) == (0, OURS, b"")
    (warning,) = refused.warnings
    assert b"/bin/echo: the chained command has too many words" in warning
