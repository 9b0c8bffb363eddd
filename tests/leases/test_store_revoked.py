"""A lease that was revoked or used never comes back, whatever the journal does meanwhile."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Optional

import pytest

from agent.audit.history import History
from agent.audit.record import Audit
from agent.config import settings as config
from agent.config.identity import Identity
from agent.config.limits import LIMITS
from agent.leases.consumption import Consumption
from agent.leases.journal import Journal
from agent.leases.lease import Lease, NotDurable, TableFull
from agent.leases.store import LeaseStore
from agent.leases.turns import Turns
from agent.sources.context import Context
from agent.sources.intake import Intake
from tests.parts.stores import Host, served


class FailingJournal(Journal):
    """A journal whose next write of a use, or removal, waits until released and then fails."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "one")
        self.failing = ""
        self.reached, self.go = threading.Event(), threading.Event()

    def fail(self, method: str) -> None:
        """Let the next call of this method wait, and fail."""
        self.failing = method
        self.reached.clear()
        self.go.clear()

    def consume(self, lease: Lease, used: Consumption) -> None:
        """Write a use, unless it is to fail."""
        self._meet("consume")
        super().consume(lease, used)

    def remove(self, leases: list[Lease]) -> None:
        """Remove leases, unless it is to fail."""
        self._meet("remove")
        super().remove(leases)

    def _meet(self, method: str) -> None:
        if self.failing == method:
            self.failing = ""
            self.reached.set()
            assert self.go.wait(30)
            raise NotDurable("the disk is full")


async def _boot(host: Host, **keys: Any) -> tuple[LeaseStore, FailingJournal]:
    host.end()
    journal = FailingJournal(str(host.path))
    store = host.store(journal, config.Keys(**keys))
    await store.open()
    await store.load_marks()
    return store, journal


async def _begin_failing_use(
    host: Host, store: LeaseStore, journal: FailingJournal, lease: Lease
) -> asyncio.Task[None]:
    """Begin to use the lease up, and return when the write that will fail has begun."""
    journal.fail("consume")
    now = host.clock.boottime()
    used = Consumption(lease.request_id, "7-8", "192.0.2.7", now, lease.expires_at)
    using = asyncio.create_task(store.consume(lease, used))
    await asyncio.to_thread(journal.reached.wait, 30)
    return using


@pytest.mark.parametrize("once", [True, False], ids=["removed", "the removal fails too"])
def test_a_lease_revoked_while_its_use_fails_does_not_come_back(host: Host, once: bool) -> None:
    """A one-time lease revoked while its use is written stays revoked when the write fails."""

    async def course() -> None:
        store, journal = await _boot(host)
        await store.add(lease := host.lease(uses=1))
        await store.add(kept := host.lease(uses=1))
        using = await _begin_failing_use(host, store, journal, lease)
        gone = [live for live in store.table.of("alice") if live.request_id == lease.request_id]
        assert len(gone) == 1, "an operator cannot revoke a lease while its use is written"
        revoking = asyncio.create_task(store.revoke(gone))
        await asyncio.sleep(0)
        if not once:
            journal.failing = "remove"
        journal.go.set()
        with pytest.raises(NotDurable):
            await using
        if once:
            await revoking
        else:
            with pytest.raises(NotDurable):
                await revoking
        assert served(store) == [kept.request_id]
        await store.tend()
        host.crash()
        assert served(await host.boot()) == [kept.request_id]

    asyncio.run(course())


def test_a_failed_removal_is_repeated(host: Host) -> None:
    """A revocation that the journal could not record is recorded as soon as it can be."""

    async def course() -> None:
        store, journal = await _boot(host)
        await store.add(lease := host.lease())
        await store.add(kept := host.lease())
        journal.fail("remove")
        journal.go.set()
        with pytest.raises(NotDurable):
            await store.revoke([lease])
        assert served(store) == [kept.request_id]
        await store.tend()
        host.crash()
        assert served(await host.boot()) == [kept.request_id]

    asyncio.run(course())


def test_a_use_that_fails_in_another_way_leaves_no_use(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it is unknown whether a use was written, no login gets a yes, and nobody the key."""

    def break_down(*_: object) -> None:
        raise RuntimeError("a thread cannot be started")

    async def course() -> None:
        store, _ = await _boot(host)
        await store.add(lease := host.lease(uses=1))
        used = Consumption(lease.request_id, "7-8", "192.0.2.7", 1.0, lease.expires_at)
        monkeypatch.setattr(Journal, "consume", break_down)
        with pytest.raises(RuntimeError):
            await store.consume(lease, used)
        assert store.consumption(lease.request_id) is None
        assert [live.uses for live in store.table.of("alice")] == [0]

    asyncio.run(course())


def test_a_use_that_fails_after_it_was_forgotten_is_not_recorded(host: Host) -> None:
    """A use that fails so late that it is no longer remembered has failed like any other."""

    async def course() -> None:
        store, journal = await _boot(host)
        await store.add(lease := host.lease(uses=1))
        using = await _begin_failing_use(host, store, journal, lease)
        host.clock.advance(60.0 + LIMITS.history_seconds)
        tending = asyncio.create_task(store.tend())
        await asyncio.sleep(0)
        journal.go.set()
        with pytest.raises(NotDurable, match="the disk is full"):
            await using
        await tending
        assert store.consumption(lease.request_id) is None

    asyncio.run(course())


@pytest.mark.parametrize("again", ["the same login", "another login"])
def test_a_cancelled_use_that_fails_leaves_the_lease_unused(host: Host, again: str) -> None:
    """A use whose login ended before its write failed counts as no use, before and after a crash.

    Otherwise this process would say that it was used, and the next one would let it be used again.
    """

    async def course() -> None:
        store, journal = await _boot(host)
        await store.add(lease := host.lease(uses=1))
        using = await _begin_failing_use(host, store, journal, lease)
        using.cancel()
        with pytest.raises(asyncio.CancelledError):
            await using
        assert store.consumption(lease.request_id) is None
        journal.go.set()
        await store.finish_uses([lease.request_id])
        assert store.consumption(lease.request_id) is None
        assert [live.uses for live in store.table.of("alice")] == [1]
        used = Consumption(lease.request_id, again, "192.0.2.7", 1.0, lease.expires_at)
        await store.consume(lease, used)
        assert served(store) == []
        host.crash()
        store = await host.boot()
        assert (served(store), store.consumption(lease.request_id)) == ([], used)

    asyncio.run(course())


def test_a_lease_keeps_its_room_while_its_use_is_written(host: Host) -> None:
    """A push that arrives while a use is written does not take the room of a use that fails."""

    async def course() -> None:
        store, journal = await _boot(host, per_user=1)
        await store.add(lease := host.lease(uses=1))
        using = await _begin_failing_use(host, store, journal, lease)
        with pytest.raises(TableFull):
            await store.add(host.lease(uses=1))
        journal.go.set()
        with pytest.raises(NotDurable):
            await using
        assert served(store) == [lease.request_id]

    asyncio.run(course())


@pytest.mark.parametrize("of_user", ["alice", None], ids=["of a user", "all"])
def test_what_was_revoked_before_the_journal_could_be_read_does_not_come_back(
    host: Host, of_user: Optional[str]
) -> None:
    """Leases revoked while the journal cannot be read stay revoked when it can, and afterwards."""

    async def course() -> None:
        store = await host.boot()
        await store.add(host.lease())
        await store.add(bobs := host.lease("bob"))
        host.end()
        away = host.path.parent.with_name("away")
        host.path.parent.rename(away)
        store = await host.boot()
        store.revoke_unread(of_user, None)
        away.rename(host.path.parent)
        await store.tend()
        bobs_left = [bobs.request_id] if of_user else []
        assert (served(store), served(store, "bob")) == ([], bobs_left)
        host.crash()
        store = await host.boot()
        assert (served(store), served(store, "bob")) == ([], bobs_left)

    asyncio.run(course())


def test_what_was_revoked_before_the_journal_could_be_read_is_explained_as_revoked(
    host: Host,
) -> None:
    """A refusal says that the lease was revoked, and when; a lease that had ended has expired."""

    async def course() -> None:
        store = await host.boot()
        await store.add(host.lease(lifetime=60.0))
        await store.add(host.lease("bob", lifetime=60.0))
        await store.add(host.lease("carol", lifetime=5.0))
        host.end()
        away = host.path.parent.with_name("away")
        host.path.parent.rename(away)
        store = await host.boot()
        host.clock.advance(10.0)
        for os_user in ("alice", "carol"):
            store.revoke_unread(os_user, None)
        host.clock.advance(10.0)
        store.revoke_unread(None, "SHA256:" + "A" * 43)
        store.revoke_unread("alice", None)
        away.rename(host.path.parent)
        restored = await store.tend()
        assert sorted(lease.os_user for lease in restored) == ["alice", "bob", "carol"]
        history = History()
        audit = Audit(lambda *_: None, host.clock, history)
        identity = Identity("i-0123456789abcdef0", "us-east-2b", "us-east-2")
        context = Context(config.Config(), identity, host.clock, audit, Turns(host.clock))
        Intake(context, store).explain(restored)
        for os_user, state in (
            ("alice", "revoked 10 s ago"),
            ("bob", "live for 40 s more"),
            ("carol", "expired 15 s ago"),
        ):
            told = history.explain(os_user, None, host.clock.boottime())
            assert told is not None
            assert state in told.reason

    asyncio.run(course())


def test_a_journal_that_was_read_leaves_out_nothing_more(host: Host) -> None:
    """A revocation ends no lease that is pushed after it."""

    async def course() -> None:
        store = await host.boot()
        store.revoke_unread(None, None)
        await store.add(lease := host.lease())
        await store.tend()
        assert served(await host.boot()) == [lease.request_id]

    asyncio.run(course())
