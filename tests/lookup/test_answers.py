"""agent/lookup/answers.py: a one-time key is given to one sshd process that is written down."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent.audit.history import History
from agent.audit.record import Audit
from agent.leases.lease import Lease
from agent.lookup.answers import Lookups
from tests.parts.admission_desk import Desk, opened
from tests.parts.proc import HELPER, PAM_ACCOUNT, SSHD

LOOKUP_USER = 990


class Lookup:
    """The lookups of a desk, and the records that they write."""

    def __init__(self, desk: Desk) -> None:
        self.records: list[Any] = []
        audit = Audit(lambda *record: self.records.append(record), desk.host.clock, History())
        self._lookups = Lookups(desk.store.table, desk.host.clock, audit, desk.handouts)

    def ask(self, lease: Lease, fingerprint: str, pid: int = HELPER) -> bytes:
        """The answer to a helper that asks for the lease's user."""
        line = f"{lease.os_user} {fingerprint}".strip() + "\n"
        return self._lookups.answer(line.encode(), pid, LOOKUP_USER)


def test_a_one_time_key_is_written_down_when_it_is_given(tmp_path: Path) -> None:
    """When sshd gets a one-time key, the process's file names its push already."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            lease = await desk.push()
            assert desk.handouts.read(SSHD) is None
            assert Lookup(desk).ask(lease, lease.key.fingerprint) == lease.line.encode()
            handed = desk.handouts.read(SSHD)
            assert handed is not None
            assert handed.latest == lease.key.fingerprint
            assert [each.request_id for each in handed.given[handed.latest]] == [lease.request_id]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("named", "pid", "reason"),
    [(False, HELPER, b"must end with %u %f"), (True, SSHD.pid, b"was run by 'systemd'")],
)
def test_a_one_time_key_is_not_given_without_its_login(
    tmp_path: Path, named: bool, pid: int, reason: bytes
) -> None:
    """No one-time key is given if sshd does not name it, or to a program that sshd did not run."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            lease, lookup = await desk.push(), Lookup(desk)
            await desk.push()
            assert lookup.ask(lease, lease.key.fingerprint if named else "", pid) == b""
            assert reason in lookup.records[-1][0]
            assert desk.handouts.read(SSHD) is None

    asyncio.run(scenario())


def test_a_later_lookup_of_another_key_is_written_down_too(tmp_path: Path) -> None:
    """After a lookup that gives no one-time key, the login uses none of those given before."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            lease, lookup = await desk.push(), Lookup(desk)
            assert lookup.ask(lease, lease.key.fingerprint)
            assert lookup.ask(lease, "SHA256:" + "A" * 43) == b""
            handed = desk.handouts.read(SSHD)
            assert handed is not None
            assert handed.latest is None
            assert (await desk.ask(PAM_ACCOUNT), desk.outcomes()) == ("yes\n", [])

    asyncio.run(scenario())
