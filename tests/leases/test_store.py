"""The lease store: durable first, then live; and what happens when the journal cannot be used."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config import settings as config
from agent.leases.lease import NotDurable, TableFull
from agent.leases.table import LeaseTable
from tests.parts.leases import ed25519_key, make_lease
from tests.parts.stores import Host, served


@pytest.fixture(name="host")
def _host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.end()


def test_a_restart_keeps_what_is_live_and_its_end(host: Host) -> None:
    """Neither the restart nor the time that it takes gives a key a longer life."""

    async def course() -> None:
        store = await host.boot()
        await store.add(lease := host.lease())
        host.clock.advance(30.0)
        store = await host.boot()
        assert served(store) == [lease.request_id]
        host.clock.advance(29.999)
        assert served(store) == [lease.request_id]
        host.clock.advance(0.001)
        assert served(store) == []
        assert served(await host.boot()) == []

    asyncio.run(course())


def test_without_a_journal_leases_end_with_the_process(host: Host) -> None:
    """`journal: none` leaves nothing on disk."""

    async def course() -> None:
        store = host.store(None)
        await store.open()
        store.check()
        await store.add(lease := host.lease())
        assert served(store) == [lease.request_id]
        assert await store.tend() == []
        await store.revoke([lease])
        assert served(store) == []

    asyncio.run(course())
    assert not host.path.exists()


def test_a_lease_from_the_future_is_not_believed(host: Host) -> None:
    """Pushed later than now, by another clock: it could outlive its minute on this one."""

    async def course() -> None:
        store = await host.boot()
        await store.add(make_lease(at=host.clock.boottime() + 0.001))
        assert served(await host.boot()) == []

    asyncio.run(course())


def test_a_revoked_lease_does_not_come_back(host: Host) -> None:
    """It is gone for the next lookup, and for the next process."""

    async def course() -> None:
        store = await host.boot()
        await store.add(lease := host.lease())
        await store.add(kept := host.lease())
        await store.revoke([lease])
        assert served(store) == [kept.request_id]
        assert served(await host.boot()) == [kept.request_id]

    asyncio.run(course())


def test_a_journal_that_cannot_be_opened_refuses_pushes_until_it_can(host: Host) -> None:
    """It is said, `check` raises, and as soon as it can be opened all goes on by itself."""

    async def course() -> None:
        host.path.parent.rmdir()
        store = await host.boot()
        assert "no push is taken" in host.said[0]
        with pytest.raises(NotDurable):
            store.check()
        with pytest.raises(NotDurable):
            await store.add(host.lease())
        assert served(store) == []
        await store.tend()
        with pytest.raises(NotDurable):
            store.check()
        host.path.parent.mkdir()
        await store.tend()
        store.check()
        await store.add(lease := host.lease())
        assert served(await host.boot()) == [lease.request_id]

    asyncio.run(course())


def test_what_an_unreadable_journal_held_is_restored_once_it_can_be_read(host: Host) -> None:
    """Keys that were acknowledged are served late rather than never; a newer push is not undone."""

    async def course() -> None:
        store = await host.boot()
        await store.add(lease := host.lease())
        host.end()
        host.path.parent.rename(host.path.parent.with_name("away"))
        store = await host.boot()
        assert served(store) == []
        host.path.parent.with_name("away").rename(host.path.parent)
        restored = await store.tend()
        assert [each.request_id for each in restored] == [lease.request_id]
        assert served(store) == [lease.request_id]

    asyncio.run(course())


def test_after_an_outage_the_journal_follows_the_table(host: Host) -> None:
    """What was revoked during the outage stays revoked, now and after a restart; the rest stays."""

    async def course() -> None:
        store = await host.boot()
        await store.add(revoked := host.lease())
        await store.add(kept := host.lease())
        journal = store._journal
        assert journal is not None
        journal.close()
        with pytest.raises(NotDurable):
            await store.revoke([revoked])
        assert served(store) == [kept.request_id]
        assert await store.tend() == []
        assert served(store) == [kept.request_id]
        assert served(await host.boot()) == [kept.request_id]

    asyncio.run(course())


def test_a_journal_damaged_under_the_daemon_loses_nothing_live(host: Host) -> None:
    """Found damaged, it is set aside, and what is live is written to the next one."""

    async def course() -> None:
        store = await host.boot()
        await store.add(lease := host.lease())
        journal = store._journal
        assert journal is not None
        journal.close()
        host.path.write_bytes(b"rubbish" * 1000)
        await store.tend()
        assert "set aside" in host.said[0]
        assert served(store) == [lease.request_id]
        assert served(await host.boot()) == [lease.request_id]

    asyncio.run(course())


def test_smaller_limits_after_a_restart_are_reported(host: Host) -> None:
    """What no longer fits is not restored, and the log names the request."""

    async def course() -> None:
        store = await host.boot()
        leases = [host.lease() for _ in range(3)]
        for lease in leases:
            await store.add(lease)
        store = await host.boot(config.Keys(per_user=2))
        assert len(served(store)) == 2
        assert len(host.said) == 1
        assert "is not restored" in host.said[0]

    asyncio.run(course())


def test_a_full_table_refuses_before_anything_is_written(host: Host) -> None:
    """A refused push must not appear after a restart."""

    async def course() -> None:
        store = await host.boot(config.Keys(per_user=1))
        await store.add(lease := host.lease())
        with pytest.raises(TableFull):
            await store.add(host.lease())
        assert served(await host.boot()) == [lease.request_id]

    asyncio.run(course())


def test_the_table_alone_is_what_lookups_read(host: Host) -> None:
    """The same key for two users is two leases: removing one leaves the other."""
    table, key = LeaseTable(config.Keys(), host.clock), ed25519_key()
    mine, other = make_lease("alice", key), make_lease("bob", key)
    table.add(mine)
    table.add(other)
    table.remove([mine])
    assert table.live() == [other]
