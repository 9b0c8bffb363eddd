"""agent/lookup/admission.py: no login is admitted before the use of its key is recorded."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from agent.audit.history import History
from agent.audit.record import Audit
from agent.leases.journal import Journal
from agent.leases.lease import NotDurable
from agent.lookup.answers import Lookups
from tests.parts.admission_desk import opened
from tests.parts.proc import HELPER, OTHER, OTHER_PAM_ACCOUNT, PAM_ACCOUNT, SSHD


class Disk:
    """The journal's disk, which stalls until released, and then writes or fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, works: bool = True) -> None:
        self.go_on = threading.Event()
        self._reached = threading.Event()
        write = Journal.consume

        def consume(journal: Journal, *arguments: Any) -> None:
            self._reached.set()
            assert self.go_on.wait(20)
            monkeypatch.undo()
            if not works:
                raise NotDurable("the disk is broken")
            write(journal, *arguments)

        monkeypatch.setattr(Journal, "consume", consume)

    async def reached(self) -> None:
        """Wait until a write has begun."""
        await asyncio.to_thread(self._reached.wait, 20)
        for _ in range(20):
            await asyncio.sleep(0)


def test_no_yes_before_the_use_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No question of a login is answered "yes" before the use of its key is written."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            desk.handouts.record(SSHD, [await desk.push()])
            disk = Disk(monkeypatch)
            asking = [asyncio.ensure_future(desk.ask()) for _ in range(2)]
            await disk.reached()
            assert not any(question.done() for question in asking)
            disk.go_on.set()
            assert await asyncio.gather(*asking) == ["yes\n", "yes\n"]

    asyncio.run(scenario())


def test_a_use_that_cannot_be_recorded_admits_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the use cannot be written, the login is refused and the key stays unused."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            lease = await desk.push()
            desk.handouts.record(SSHD, [lease])
            disk = Disk(monkeypatch, works=False)
            asking = asyncio.ensure_future(desk.ask())
            await disk.reached()
            disk.go_on.set()
            assert await asking == "the disk is broken\n"
            assert await desk.ask() == "yes\n"
            id_ = lease.request_id
            assert desk.outcomes() == [("refused", id_), ("admitted", id_)]

    asyncio.run(scenario())


def test_a_login_that_ended_consumes_no_push(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login that is cancelled while it waits for another's write uses no lease."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            first, second = await desk.push(), await desk.push()
            desk.handouts.record(SSHD, [first])
            desk.handouts.record(OTHER, [second])
            disk = Disk(monkeypatch)
            asking = [
                asyncio.ensure_future(desk.ask(pid)) for pid in (PAM_ACCOUNT, OTHER_PAM_ACCOUNT)
            ]
            await disk.reached()
            for question in asking:
                question.cancel()
            await asyncio.wait(asking)
            disk.go_on.set()
            assert desk.outcomes() == [("refused", first.request_id)]
            live = [(each.request_id, each.uses) for each in desk.store.table.live()]
            assert live == [(first.request_id, 0), (second.request_id, 1)]
            # The use being written is completed, so the same login is still admitted.
            assert await desk.ask() == "yes\n"

    asyncio.run(scenario())


def test_a_login_that_asks_again_waits_for_its_first_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login that was cancelled and asks again gets no yes before its use is durable."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            desk.handouts.record(SSHD, [await desk.push()])
            disk = Disk(monkeypatch, works=False)
            asking = asyncio.ensure_future(desk.ask())
            await disk.reached()
            asking.cancel()
            await asyncio.wait([asking])
            # Whether the key is used up is not known yet.
            assert desk.records[-1]["reason"] == (
                "the login ended before the answer: the key is used up, unless that cannot be "
                "recorded"
            )
            again = asyncio.ensure_future(desk.ask())
            for _ in range(20):
                await asyncio.sleep(0)
            assert not again.done()
            disk.go_on.set()
            # The first use has failed, so this is another one, and durable.
            assert await again == "yes\n"
            desk.host.crash()
            await desk.start()
            assert desk.store.table.live() == []

    asyncio.run(scenario())


def test_a_key_whose_use_is_being_written_is_given_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lookup does not give a one-time key while a login's use of it is being written."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            lease = await desk.push()
            desk.handouts.record(SSHD, [lease])
            audit = Audit(lambda *_: None, desk.host.clock, History())
            lookups = Lookups(desk.store.table, desk.host.clock, audit, desk.handouts)
            line = f"{lease.os_user} {lease.key.fingerprint}\n".encode()
            disk = Disk(monkeypatch)
            asking = asyncio.ensure_future(desk.ask())
            await disk.reached()
            assert [live.uses for live in desk.store.table.live()] == [0]
            assert lookups.answer(line, HELPER, 990) == b""
            disk.go_on.set()
            assert await asking == "yes\n"
            assert desk.store.table.live() == []

    asyncio.run(scenario())
