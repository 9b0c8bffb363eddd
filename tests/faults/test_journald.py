"""The statements of docs/audit.md about journald, tested with a real journald."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.load import MANY, pusher
from tests.parts.daemon import RunningDaemon
from tests.parts.host import IS_ROOT, ROOT, work_directory
from tests.parts.journald import Journald

# CI has root, directly or by sudo, so the test is never skipped there.
pytestmark = pytest.mark.skipif(not IS_ROOT, reason="mounting a file system needs root")

PAGE = ROOT / "docs" / "audit.md"
UNIT = ROOT / "systemd" / "sixtykeyd.service"
PUSHES = 200
SEALED = 4
"""Seconds after which journald seals what it has written."""


@pytest.fixture(name="folder")
def _folder() -> Iterator[Path]:
    with work_directory() as folder:
        yield folder


def run_daemon(folder: Path, journald: Journald) -> None:
    """Run a daemon that logs to this journald: a start, some pushes, a stop."""
    with RunningDaemon(folder, config=MANY, prefix=journald.catching("sixtykeyd")) as daemon:
        with pusher(daemon) as one:
            for _ in range(PUSHES):
                one.push("alice")
        assert daemon.stop() == 0
    journald.run("journalctl", "--sync")


def read(journald: Journald) -> list[str]:
    """The daemon's lines, read by the command of the documentation."""
    done = journald.run("journalctl", "-t", "sixtykeyd", "-o", "cat")
    return done.stdout.splitlines(keepends=True)


def find_gaps(lines: list[str]) -> list[str]:
    """The output of the documentation's script for these lines."""
    (script,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", script],
        input="".join(lines), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def test_every_record_arrives_in_journald(folder: Path) -> None:
    """Every record reaches journald in order, and the documented script finds removed ones."""
    with Journald() as journald:
        run_daemon(folder, journald)
        lines = read(journald)
    assert sum('"event": "push"' in line for line in lines) == PUSHES
    assert find_gaps(lines) == []
    records = [line for line in lines if line.startswith('{"time"')]
    missing = find_gaps(records[:10] + records[12:])
    assert [re.sub("[0-9a-f]{8}", "X", line) for line in missing] == ["run X: 11 to 12 are missing"]


def test_a_run_that_was_killed_has_no_end(folder: Path) -> None:
    """The documented script reports a run that was killed as one without an end."""
    with Journald() as journald:
        run_daemon(folder, journald)
        command = journald.catching("sixtykeyd")
        with RunningDaemon(folder, config=MANY, prefix=command) as daemon:
            with pusher(daemon) as one:
                one.push("alice")
            daemon.kill()
        journald.run("journalctl", "--sync")
        (line,) = find_gaps(read(journald))
    assert re.fullmatch(r"run [0-9a-f]{8}: has no end", line)


def test_the_unit_takes_journalds_rate_limit_away() -> None:
    """The unit turns off journald's rate limit, which could drop the record of a login."""
    assert "\nLogRateLimitIntervalSec=0\n" in UNIT.read_text("utf-8")


def test_a_sealed_journal_shows_a_record_that_was_changed(folder: Path) -> None:
    """`journalctl --verify` with the key passes for an intact journal and fails after a change."""
    with Journald("Seal=yes", interval=f"{SEALED}s") as journald:
        key = journald.path("run/verify-key").read_text("ascii").strip()
        verify = ("journalctl", "--verify", f"--verify-key={key}")
        for _ in range(2):  # the first entry after an interval seals the one before
            # Clear of its ends: journald's own check may take an entry there for a changed one.
            time.sleep(SEALED - time.time() % SEALED + 0.2)
            run_daemon(folder, journald)
        done = journald.run(*verify)
        assert done.returncode == 0, done.stderr
        assert "PASS" in done.stderr
        (file,) = journald.path("var/log/journal").glob("*/system.journal")
        data = bytearray(file.read_bytes())
        place = data.index(b'"os_user": "alice"')
        with file.open("r+b") as journal:
            journal.seek(place + len(b'"os_user": "'))
            journal.write(b"A")
        done = journald.run(*verify)
        assert done.returncode != 0
        assert "FAIL" in done.stderr
