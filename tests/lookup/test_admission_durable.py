"""agent/lookup/admission.py: no yes before the use is written down, however long that takes."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from agent.leases.journal import Journal
from agent.leases.lease import NotDurable
from tests.parts.admission_desk import opened
from tests.parts.proc import OTHER, OTHER_PAM_ACCOUNT, PAM_ACCOUNT, SSHD


class Disk:
    """The journal's disk, which stands still until it may go on; then it writes, or cannot."""

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
        """Wait until a write has begun, for which the other question waits."""
        await asyncio.to_thread(self._reached.wait, 20)
        for _ in range(20):
            await asyncio.sleep(0)


def test_no_yes_before_it_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither to the first question nor to a second one of the same login, which waits for it."""

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


def test_what_cannot_be_written_down_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused, and recorded; the key is as good as before."""

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


def test_whoever_has_gone_uses_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its second is over while others' uses are written: the key is there for the next login."""

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
            assert [e.request_id for e in desk.store.table.live()] == [second.request_id]
            # What was being written is: this login alone may still be told so.
            assert await desk.ask() == "yes\n"

    asyncio.run(scenario())
