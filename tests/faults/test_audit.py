"""Floods do not push the record of an accepted login out of the audit log."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.floods import (
    FLOODER,
    LOOKUPS,
    PUSHES,
    Flood,
    Flooding,
    SlowLog,
    Target,
    decided,
    missing,
)
from tests.faults.load import MANY, push_one, pusher, resident_mib
from tests.parts.certificates import Authority
from tests.parts.command import run
from tests.parts.daemon import CREDENTIAL, PATIENCE, RunningDaemon
from tests.parts.helper import ask_helper
from tests.parts.host import work_directory
from tests.parts.leases import ed25519_key
from tests.parts.raw import Raw
from tests.parts.signed import push, sign
from tests.parts.waiting import wait_until

SECONDS = 6.0
LOGINS = 5
MEMORY_MIB = 96.0


@pytest.fixture(name="folder")
def _folder() -> Iterator[Path]:
    with work_directory() as folder:
        yield folder


@contextmanager
def logging_to(folder: Path, rate: int, **config: Any) -> Iterator[tuple[RunningDaemon, SlowLog]]:
    """A daemon whose log is read at this many bytes a second, until its end."""
    # As installed: asyncio's debug mode would slow it down.
    plain = {"PYTHONASYNCIODEBUG": "", "MALLOC_ARENA_MAX": "1"}
    log = SlowLog(folder, rate)
    daemon = RunningDaemon(
        folder, config=config, credentials=[CREDENTIAL, FLOODER], prefix=log.prefix,
        environment=plain,
    )  # fmt: skip
    with log, daemon:
        yield daemon, log


def await_record(log: SlowLog, **wanted: Any) -> dict[str, Any]:
    """Wait until the slow reader has read such a record; return the last one."""
    found = wait_until(
        lambda: log.records(**wanted), lambda: log.records()[-1], pause=0.2, seconds=PATIENCE
    )
    return found[-1]


def push_for_root(target: Target) -> tuple[str, str]:
    """Push a new key for root with a valid credential; return its request id and fingerprint."""
    key = ed25519_key()
    call = sign(push(InstanceOSUser="root", SSHPublicKey=key.line("").strip()))
    with target.connect("127.0.0.9") as raw:
        answer = raw.send(call.raw()).answer()
    assert answer.code == ""
    return answer.request_id, key.fingerprint


def log_in(daemon: RunningDaemon, request_id: str, fingerprint: str) -> None:
    """Look up a key as sshd does for a login; the helper gives up after a second."""
    (line,) = ask_helper(daemon.lookup_socket, "root", fingerprint)
    assert line.split()[2] == request_id


def tls_settings(folder: Path) -> tuple[dict[str, Any], str]:
    """A configuration with TLS, and the file of the authority that a client trusts."""
    authority = Authority(folder)
    certificate, key = authority.issue("server")
    files = {"certificate": str(certificate), "private_key": str(key)}
    return {"push": {"http": {"tls": files}}}, str(authority.file)


def check_complete(records: list[dict[str, Any]], pushes: int) -> None:
    """Fail unless the log has its last record, reports every gap, and accounts for every push."""
    assert records[-1]["event"] == "stop"
    lost = sum(each["count"] for each in records if each["outcome"] == "dropped")
    assert len(missing(records)) == lost
    assert decided(records, "push") >= pushes


def check_operators_are_told(daemon: RunningDaemon, summed: dict[str, Any]) -> None:
    """Fail unless `sixtykey why` and `status` report the decisions that were only counted."""
    socket = ("--socket", daemon.push_socket)
    text = run("why", "root", *socket).out
    assert re.search(r"! in the last .* decisions of all users were only counted \(replay\)", text)
    counters = run("status", "--json", *socket).json["Counters"]
    assert counters["summed"]["push"] >= summed["count"]
    assert "\nsummed up " in run("status", *socket).out


@pytest.mark.parametrize(
    ("floods", "tls"),
    [(PUSHES, False), (PUSHES, True), (LOOKUPS, False)],
    ids=["pushes", "pushes over TLS", "lookups"],
)
def test_floods_do_not_crowd_out_who_was_let_in(
    folder: Path, floods: Sequence[Flood], tls: bool
) -> None:
    """During floods of pushes and lookups, each of five logins is recorded in the audit log.

    The log is read at 100 KB/s. Each lookup is answered within the helper's second, and memory
    stays below the unit's limit.
    """
    config, authority = tls_settings(folder) if tls else ({}, None)
    let_in: list[tuple[str, str]] = []
    with logging_to(folder, 100_000, **config) as (daemon, log):
        target = Target(daemon.http_port, daemon.lookup_socket, authority)
        with Flooding(target, SECONDS, floods) as flooding:
            for number in range(LOGINS):
                time.sleep(max(0.0, flooding.until - time.monotonic()) / (LOGINS - number + 1))
                let_in.append(push_for_root(target))
                log_in(daemon, *let_in[-1])
                assert resident_mib(daemon.pid) < MEMORY_MIB
            sent = flooding.wait()
        assert resident_mib(daemon.pid) < MEMORY_MIB
        assert sent > 500
        await_record(log, event="lookup", request_id=let_in[-1][0])
        check_operators_are_told(daemon, await_record(log, event="audit", kind="replay"))
        assert daemon.stop() == 0
    for request_id, fingerprint in let_in:
        (allowed,) = log.records(event="push", outcome="allowed", request_id=request_id)
        assert (allowed["os_user"], allowed["fingerprint"]) == ("root", fingerprint)
        assert log.records(event="lookup", outcome="given", request_id=request_id)
    check_complete(log.records(), sent)


@pytest.mark.timeout(300)  # it fills 9 MiB with records
def test_a_log_that_nobody_reads_for_long_shows_its_gap(folder: Path) -> None:
    """With an unread log, memory is bounded, and a record reports the records that were dropped."""
    call = push(SSHPublicKey=ed25519_key().line("").strip()).plus("User-Agent", "\\" * 1024)
    batch, sent = call.raw() * 50, 0
    with logging_to(folder, 0, **MANY) as (daemon, log):
        with Raw(daemon.push_socket) as raw:
            while '"dropped"' not in run("status", "--json", "--socket", daemon.push_socket).out:
                for _ in range(10):
                    raw.send(batch)
                    assert [raw.answer().code for _ in range(50)] == [""] * 50
                sent += 500
                assert sent < 20_000
        assert resident_mib(daemon.pid) < MEMORY_MIB
        assert len(ask_helper(daemon.lookup_socket, "ec2-user")) == 1
        log.speed_up()
        await_record(log, event="audit", outcome="dropped")
        assert daemon.stop() == 0
    gaps, numbers = log.records(event="audit", outcome="dropped"), missing(log.records())
    assert gaps[0]["first_seq"] == numbers[0]
    assert gaps[-1]["last_seq"] == numbers[-1]
    assert sum(gap["decisions"].get("push/allowed", 0) for gap in gaps) > 100
    check_complete(log.records(), sent)


def test_the_end_of_the_daemon_waits_for_the_log(folder: Path) -> None:
    """A daemon that is stopped writes the records that still wait for a slow log."""
    with logging_to(folder, 100_000, **MANY) as (daemon, log):
        with pusher(daemon) as one:
            pushed = {one.push("alice").request_id for _ in range(500)}
        assert daemon.stop() == 0
    assert {record["request_id"] for record in log.records(event="push")} == pushed
    check_complete(log.records(), 500)


def test_a_log_that_takes_nothing_does_not_keep_the_daemon(folder: Path) -> None:
    """A daemon whose log is never read still stops in time, and its log has no stop record."""
    with logging_to(folder, 0, **MANY) as (daemon, log):
        with pusher(daemon) as one:
            for _ in range(500):
                one.push("alice")
        assert daemon.stop() == 0
        log.speed_up()
    assert log.records()
    assert not log.records(event="stop")


def test_each_run_is_told_from_the_others(folder: Path) -> None:
    """Each run has a different id, numbers from 1, and ends with "stop" unless it was killed."""
    runs: list[list[dict[str, Any]]] = []
    with RunningDaemon(folder) as daemon:
        for end in (daemon.stop, daemon.kill, daemon.stop):
            push_one(daemon)
            ask_helper(daemon.lookup_socket, "alice")
            name = daemon.await_audit(event="start")["run"]
            end()
            runs.append(daemon.audit(run=name))
            daemon.start()
    assert len({run[0]["run"] for run in runs}) == 3
    assert [missing(run) for run in runs] == [[], [], []]
    assert [run[0]["seq"] for run in runs] == [1, 1, 1]
    assert [run[-1]["event"] for run in runs] == ["stop", "lookup", "stop"]
