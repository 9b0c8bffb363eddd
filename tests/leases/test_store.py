"""The lease store makes a lease durable before it is live, and survives an unusable journal."""

from __future__ import annotations

import asyncio

import pytest

from agent.config import settings as config
from agent.leases.lease import NotDurable, TableFull
from agent.leases.table import LeaseTable
from tests.parts.leases import ed25519_key, make_lease
from tests.parts.stores import Host, served


def test_a_restart_keeps_what_is_live_and_its_end(host: Host) -> None:
    """A restart keeps a live lease and does not extend its lifetime."""

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
    """With `journal: none` leases are served and revoked, and nothing is written to disk."""

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
    """A recorded lease whose push lies in the future is not restored."""

    async def course() -> None:
        store = await host.boot()
        await store.add(make_lease(at=host.clock.boottime() + 0.001))
        assert served(await host.boot()) == []

    asyncio.run(course())


def test_a_revoked_lease_does_not_come_back(host: Host) -> None:
    """A revoked lease is refused by the next lookup, and also after a restart."""

    async def course() -> None:
        store = await host.boot()
        await store.add(lease := host.lease())
        await store.add(kept := host.lease())
        await store.revoke([lease])
        assert served(store) == [kept.request_id]
        assert served(await host.boot()) == [kept.request_id]

    asyncio.run(course())


def test_a_journal_that_cannot_be_opened_refuses_pushes_until_it_can(host: Host) -> None:
    """Pushes are refused while the journal cannot be opened, and resume when it can."""

    async def course() -> None:
        host.path.parent.rmdir()
        store = await host.boot()
        assert "pushes are refused" in host.said[0]
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


def test_an_unreadable_journals_leases_are_restored_once_it_can_be_read(host: Host) -> None:
    """Leases of a journal that was unreachable at the start are restored when it is back."""

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
    """A lease revoked while the journal is unusable stays revoked after a restart."""

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
    """A live journal found damaged is set aside, and its live leases go into a new one."""

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
    """A lease beyond a lowered limit is not restored at a restart, and this is logged."""

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
    """A push refused by a full table is not in the journal after a restart."""

    async def course() -> None:
        store = await host.boot(config.Keys(per_user=1))
        await store.add(lease := host.lease())
        with pytest.raises(TableFull):
            await store.add(host.lease())
        assert served(await host.boot()) == [lease.request_id]

    asyncio.run(course())


def test_the_table_alone_is_what_lookups_read(host: Host) -> None:
    """The same key for two users is two leases, and removing one leaves the other."""
    table, key = LeaseTable(config.Keys(), host.clock), ed25519_key()
    mine, other = make_lease("alice", key), make_lease("bob", key)
    table.add(mine)
    table.add(other)
    table.remove([mine])
    assert table.live() == [other]
