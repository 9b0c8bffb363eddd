"""agent/lookup/admission.py: no yes before the use is written down, however long that takes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.leases.journal import Journal
from agent.leases.lease import NotDurable
from tests.parts.admission_desk import opened
from tests.parts.proc import OTHER, OTHER_PAM_ACCOUNT, PAM_ACCOUNT, SSHD


async def settle() -> None:
    """Let what has been started go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


@contextmanager
def standing_still(monkeypatch: pytest.MonkeyPatch, error: bool = False) -> Iterator[None]:
    """The journal's disk stands still for the body, then writes, or cannot."""
    go_on, write = threading.Event(), Journal.consume

    def consume(journal: Journal, *arguments: Any) -> None:
        assert go_on.wait(20)
        if error:
            raise NotDurable("the disk is broken")
        write(journal, *arguments)

    monkeypatch.setattr(Journal, "consume", consume)
    yield
    go_on.set()
    monkeypatch.undo()


def test_no_yes_before_it_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither to the first question nor to a second one of the same login, which waits for it."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            desk.handouts.record(SSHD, [await desk.push()])
            with standing_still(monkeypatch):
                asking = [asyncio.ensure_future(desk.ask()) for _ in range(2)]
                await settle()
                assert not any(question.done() for question in asking)
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
            with standing_still(monkeypatch, error=True):
                asking = asyncio.ensure_future(desk.ask())
                await settle()
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
            with standing_still(monkeypatch):
                asking = [
                    asyncio.ensure_future(desk.ask(pid)) for pid in (PAM_ACCOUNT, OTHER_PAM_ACCOUNT)
                ]
                await settle()
                for question in asking:
                    question.cancel()
                await asyncio.wait(asking)
            assert desk.outcomes() == [("refused", first.request_id)]
            assert [e.request_id for e in desk.store.table.live()] == [second.request_id]
            # What was being written is: this login alone may still be told so.
            assert await desk.ask() == "yes\n"

    asyncio.run(scenario())
