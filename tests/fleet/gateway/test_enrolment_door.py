"""The answers and audit records of a gateway's door for hosts that enrol."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Optional

import pytest

from agent.audit.history import History
from agent.audit.record import Audit
from agent.config.document import Problems
from agent.config.limits import LIMITS
from agent.fleet.gateway.enrolment_door import EnrolmentDoor
from agent.fleet.messages import membership
from agent.sources.api.message import Peer, Request, Response
from tests.fleet.members import Desk, Host, token
from tests.fleet.sample_messages import ISSUER, NOW
from tests.parts.clock import ManualClock
from tests.parts.daemon import INSTANCE_ID


class At:
    """An enrolment door and its audit records."""

    def __init__(self, folder: Path) -> None:
        self.enrolment = Desk(folder)
        self.records: list[dict[str, Any]] = []
        self._clock = ManualClock(wall=NOW)
        self._audit = Audit(self._write, self._clock, History())

    def _write(self, line: bytes, *_: object) -> None:
        self.records.append(json.loads(line))

    def ask(self, kind: str, body: bytes, times: int = 1) -> Response:
        """Send a request `times` times; return the last answer."""

        async def run() -> Optional[Response]:
            door = EnrolmentDoor(self.enrolment, "", dict, self._audit, self._clock)
            request = Request(b"POST", b"/fleet/" + kind.encode(), (), body, Peer("192.0.2.1"))
            answer = None
            for _ in range(times):
                answer = await door.answer(request)
            return answer

        answer = asyncio.run(run())
        assert answer is not None
        return answer


def test_the_audit_names_the_host(tmp_path: Path) -> None:
    """The audit names a host that has joined, and none for an unverified request."""
    at, host = At(tmp_path), Host()
    joining = host.ask(membership.JOIN, token().dump(ISSUER))
    assert at.ask("join", joining).status == 200
    assert at.ask("join", b"{}").status == 403
    told = [(each["event"], each["outcome"], each.get("instance")) for each in at.records]
    assert told == [("fleet-join", "allowed", INSTANCE_ID), ("fleet-join", "refused", None)]


def test_one_host_does_not_fill_the_audit(tmp_path: Path) -> None:
    """A host's repeated requests are recorded a few times, and then summed up."""
    at, host = At(tmp_path), Host()
    joining = host.ask(membership.JOIN, token().dump(ISSUER))
    assert at.ask("join", joining, times=3 * int(LIMITS.sampled_burst)).status == 200
    assert 1 <= len(at.records) <= LIMITS.sampled_burst + 1


def test_files_that_cannot_be_used_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the gateway's files cannot be used, the answer is 500 with a message."""
    at = At(tmp_path)

    def fail(*_: object) -> bytes:
        raise Problems(["fleet.json: not readable"])

    monkeypatch.setattr(at.enrolment, "join", fail)
    answer = at.ask("join", b"{}")
    assert (answer.status, "is not usable" in answer.body["error"]) == (500, True)
