"""Floods that would crowd out the audit: who was let in is in the log in the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.floods import FLOODER, Flooding, SlowLog, Target, decided, missing
from tests.faults.load import resident_mib
from tests.parts.certificates import Authority
from tests.parts.daemon import CREDENTIAL, PATIENCE, RunningDaemon
from tests.parts.helper import ask_helper
from tests.parts.host import work_directory
from tests.parts.leases import ed25519_key
from tests.parts.signed import push, sign

SECONDS = 8.0
PUSHES = 5
MEMORY_MIB = 96.0


@pytest.fixture(name="folder")
def _folder() -> Iterator[Path]:
    with work_directory() as folder:
        yield folder


@contextmanager
def logging_to(log: SlowLog, **config: Any) -> Iterator[RunningDaemon]:
    """A daemon whose log is read slowly; when it has ended, what is left of that is read."""
    prefix = ["sh", "-c", f'exec "$@" >{log.path}', "sh"]
    daemon = RunningDaemon(
        log.path.parent,
        config=config,
        credentials=[CREDENTIAL, FLOODER],
        prefix=prefix,
        # As it is installed: asyncio's debug mode would be what is slow.
        environment={"PYTHONASYNCIODEBUG": "", "MALLOC_ARENA_MAX": "1"},
    )
    try:
        with daemon:
            yield daemon
    finally:
        log.close()


def push_for_root(target: Target) -> tuple[str, str]:
    """Push a fresh key for root with an honest credential; its request id and fingerprint."""
    key = ed25519_key()
    call = sign(push(InstanceOSUser="root", SSHPublicKey=key.line("").strip()))
    with target.connect("127.0.0.9") as raw:
        answer = raw.send(call.raw()).answer()
    assert answer.code == ""
    return answer.request_id, key.fingerprint


def log_in(daemon: RunningDaemon, request_id: str, fingerprint: str) -> None:
    """Ask as sshd does for a login; the helper gives up after a second, and so would sshd."""
    (line,) = ask_helper(daemon.lookup_socket, "root", fingerprint)
    assert line.split()[2] == request_id


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_floods_do_not_crowd_out_who_was_let_in(folder: Path, tls: bool) -> None:
    """Replays, throttled pushes, strangers from everywhere, lookups: five logins are on record.

    The log is read at 100 KB/s. Each lookup is answered within the helper's second, and the memory
    stays below what the unit allows.
    """
    config, authority = tls_settings(folder) if tls else ({}, None)
    log = SlowLog(folder, 100_000)
    let_in: list[tuple[str, str]] = []
    with logging_to(log, **config) as daemon:
        target = Target(daemon.http_port, daemon.lookup_socket, authority)
        with Flooding(target, SECONDS) as flooding:
            for number in range(PUSHES):
                time.sleep(max(0.0, flooding.until - time.monotonic()) / (PUSHES - number + 1))
                let_in.append(push_for_root(target))
                log_in(daemon, *let_in[-1])
                assert resident_mib(daemon.pid) < MEMORY_MIB
            sent = flooding.end()
        assert resident_mib(daemon.pid) < MEMORY_MIB
        assert sent > 1000
        await_records(log, let_in)
        assert daemon.stop() == 0
    for request_id, fingerprint in let_in:
        (allowed,) = log.records(event="push", outcome="allowed", request_id=request_id)
        assert (allowed["os_user"], allowed["fingerprint"]) == ("root", fingerprint)
        assert log.records(event="lookup", outcome="given", request_id=request_id)
    check_whole(log.records(), sent)


def tls_settings(folder: Path) -> tuple[dict[str, Any], str]:
    """A configuration with TLS, and the file of the authority that a client trusts."""
    authority = Authority(folder)
    certificate, key = authority.issue("server")
    files = {"certificate": str(certificate), "private_key": str(key)}
    return {"push": {"http": {"tls": files}}}, str(authority.file)


def await_records(log: SlowLog, let_in: list[tuple[str, str]]) -> None:
    """Until the slow reader has come to the last of these, or for so long."""
    deadline = time.monotonic() + PATIENCE
    while not log.records(event="lookup", request_id=let_in[-1][0]):
        assert time.monotonic() < deadline, log.records()[-1]
        time.sleep(0.5)


def check_whole(records: list[dict[str, Any]], pushes: int) -> None:
    """The log has its end, every gap in it is told, and so is every push."""
    assert records[-1]["event"] == "stop"
    told = sum(each["count"] for each in records if each["outcome"] == "dropped")
    assert len(missing(records)) == told
    assert decided(records, "push") >= pushes
