"""Two runs of sshd-setup at the same time do not mix."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from itertools import groupby

import pytest

from agent.sshd_setup import lock
from agent.sshd_setup.command import DONE, FAILED
from tests.sshd_setup.etc import Etc

_RUN = "import sys; from agent.sshd_setup.command import main; sys.exit(main())"


def test_runs_at_the_same_time_take_turns(etc: Etc) -> None:
    """Of six runs started together, each has sshd for itself from its first call to its last."""
    calls, program = etc.folder / "calls", etc.folder / "slow-sshd"
    program.write_text(
        f'#!/bin/sh\necho $PPID >>{calls}\nsleep 0.1\nexec {etc.sshd.program} "$@"\n'
    )
    program.chmod(0o755)
    options = ["--sshd", str(program), "--config", str(etc.config), "--root", str(etc.folder)]
    runs = [
        subprocess.Popen([sys.executable, "-c", _RUN, action, *options])
        for action in ("enable", "disable") * 3
    ]
    assert [run.wait() for run in runs] == [DONE] * 6
    callers = calls.read_text().split()
    # A disable that finds nothing to do asks sshd nothing.
    assert len(callers) > len(set(callers)) >= 3
    assert len([*groupby(callers)]) == len(set(callers)), callers


def test_a_run_waits_for_the_one_before(etc: Etc, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that finds another one at work changes nothing until that has ended."""
    waits, sleep, codes = threading.Event(), time.sleep, list[int]()

    def note_and_sleep(seconds: float) -> None:
        waits.set()
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", note_and_sleep)
    with lock.only_one(etc.sshd.root):
        second = threading.Thread(target=lambda: codes.append(etc.run("enable")))
        second.start()
        assert waits.wait(60)
        assert not etc.drop_in.exists()
    second.join()
    assert (codes, etc.drop_in.exists()) == ([DONE], True)


def test_a_run_that_waited_in_vain_names_the_other(
    etc: Etc, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the other one does not end, its process is named, and nothing is changed."""
    monkeypatch.setattr(lock, "WAIT", 0.0)
    before = etc.files()
    with lock.only_one(etc.sshd.root):
        assert etc.run("enable") == FAILED
    error = capsys.readouterr().err
    holder = (etc.folder / "run/sixtykey-sshd-setup.lock").read_text().strip()
    assert f"another sshd-setup is running (process {holder})" in error
    assert etc.files() == before


def test_a_killed_run_stops_no_other(etc: Etc) -> None:
    """The lock of a run that was killed is free."""
    held = f"from agent.sshd_setup.lock import only_one\nwith only_one({etc.sshd.root!r}):\n"
    words = [sys.executable, "-c", f"{held}    print('held', flush=True)\n    input()"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        first.kill()
    assert etc.run("enable") == DONE
