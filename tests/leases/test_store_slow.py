"""With a journal on a stalled disk, lookups go on and no expired key is accepted."""

from __future__ import annotations

import asyncio
import threading

import pytest

from agent.leases.journal import Journal
from agent.leases.lease import Lease, NotDurable
from agent.leases.store import LeaseStore
from tests.parts.stores import Host, served


class SlowJournal(Journal):
    """A journal on a disk that stalls until it is released."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "one")
        self.go = threading.Event()
        self.reached = threading.Event()

    def record(self, lease: Lease) -> None:
        """Wait, then record."""
        self.reached.set()
        self.go.wait(30)
        super().record(lease)


async def _slow(host: Host) -> tuple[LeaseStore, SlowJournal]:
    journal = SlowJournal(str(host.path))
    store = host.store(journal)
    await store.open()
    await store.load_marks()
    return store, journal


def test_lookups_go_on_while_the_disk_stands_still(host: Host) -> None:
    """Lookups go on while a push waits for the disk, and do not show its key yet."""

    async def course() -> None:
        store, journal = await _slow(host)
        journal.go.set()
        await store.add(lease := host.lease())
        journal.go.clear()
        journal.reached.clear()
        pushing = asyncio.create_task(store.add(second := host.lease()))
        while not journal.reached.is_set():
            await asyncio.sleep(0.001)
        assert served(store) == [lease.request_id]
        journal.go.set()
        await pushing
        assert served(store) == [lease.request_id, second.request_id]

    asyncio.run(course())


def test_a_disk_slower_than_the_lifetime_takes_nothing(host: Host) -> None:
    """A key whose lifetime ends while it is being written is refused and never served."""

    async def course() -> None:
        store, journal = await _slow(host)
        pushing = asyncio.create_task(store.add(host.lease()))
        while not journal.reached.is_set():
            await asyncio.sleep(0.001)
        host.clock.advance(60.0)
        journal.go.set()
        with pytest.raises(NotDurable):
            await pushing
        assert served(store) == []

    asyncio.run(course())
