"""No decision or lookup waits for a stdout or stderr that is closed, full or unread."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.floods import SlowLog, missing
from tests.faults.load import MANY, Watch, pusher, served
from tests.parts.daemon import RunningDaemon
from tests.parts.host import work_directory


@pytest.fixture(name="folder")
def _folder() -> Iterator[Path]:
    with work_directory() as folder:
        yield folder


def daemon_with_streams(folder: Path, how: str) -> RunningDaemon:
    """A daemon whose streams a shell has redirected like this."""
    return RunningDaemon(folder, config=MANY, prefix=["sh", "-c", f'exec "$@" {how}', "sh"])


@pytest.mark.parametrize("how", [">&-", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full"])
def test_streams_that_are_closed_or_full(how: str, folder: Path) -> None:
    """With closed or full streams the daemon works, and no client receives a log line."""
    with daemon_with_streams(folder, how) as daemon:
        watch = Watch(daemon)
        with pusher(daemon) as one:
            watch.acknowledged += [one.push("alice") for _ in range(50)]
        daemon.reload()
        watch.check()
        assert daemon.stop() == 0


def test_a_log_that_is_not_read_stops_neither_pushes_nor_lookups(folder: Path) -> None:
    """While the log is not read, pushes and lookups go on, and no record is lost."""
    log = SlowLog(folder, 0)
    with log, RunningDaemon(folder, config=MANY, prefix=log.prefix) as daemon:
        watch = Watch(daemon)
        with pusher(daemon) as one:
            watch.acknowledged += [one.push("alice") for _ in range(1500)]
        assert len(served(daemon)) == 1500
        watch.check(memory=None)
        log.speed_up()
        watch.check(memory=None)
        assert daemon.stop() == 0
    pushed = {each.request_id for each in watch.acknowledged}
    assert {record["request_id"] for record in log.records(event="push")} == pushed
    assert missing(log.records()) == []


def test_a_log_without_a_reader_does_not_end_the_daemon(folder: Path) -> None:
    """A log whose reader has closed it (EPIPE) does not end the daemon, and logins go on."""
    fifo = folder / "log"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    with daemon_with_streams(folder, f">{fifo} 2>&1") as daemon:
        watch = Watch(daemon)
        os.close(reader)
        daemon.reload()
        watch.check()
