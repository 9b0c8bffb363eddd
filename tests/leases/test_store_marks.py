"""With 100,000 marks to read, leases are served first and no push is accepted meanwhile."""

from __future__ import annotations

import asyncio
from typing import Optional

import pytest

from agent.config.limits import LIMITS
from agent.leases.journal import Journal
from agent.leases.lease import AcceptedMark, Horizon, Lease, NotDurable
from agent.leases.store import LeaseStore
from agent.sources.replay import ReplayMemoryFull, TooOld
from tests.parts.journals import Disk
from tests.parts.leases import make_lease, mark
from tests.parts.stores import Host, served


def fill(host: Host, count: int, lease: Optional[Lease] = None) -> None:
    """Write a journal with this many marks of one principal, and one live lease."""
    disk = Disk(host.path.parent)
    journal = disk.open("one")
    marks = [AcceptedMark(mark(number), f"id {number}", "greedy") for number in range(count)]
    journal.rewrite([] if lease is None else [lease], marks, Horizon())
    disk.close()


def begin(host: Host) -> LeaseStore:
    """A store on the written journal, not opened yet."""
    return host.store(Journal(str(host.path), "one"))


def test_leases_are_served_before_any_mark_is_read(host: Host) -> None:
    """Leases are served while marks are read in portions; pushes are refused until the end."""
    fill(host, LIMITS.remembered_marks, lease := host.lease())

    async def course() -> None:
        store = begin(host)
        assert await store.open() == [lease]
        assert (served(store), len(host.memory)) == ([lease.request_id], 0)
        with pytest.raises(NotDurable):
            store.check()
        with pytest.raises(NotDurable):
            await store.add(host.lease())
        loading, seen = asyncio.create_task(store.load_marks()), {0}
        while not loading.done():
            assert served(store) == [lease.request_id]
            seen.add(len(host.memory))
            await asyncio.sleep(0)
        assert len(seen) > LIMITS.remembered_marks // LIMITS.marks_at_once
        assert len(host.memory) == LIMITS.remembered_marks
        store.check()
        assert host.memory.recall(mark(99_999), "a") == "id 99999"
        # The memory is full, and no mark is forgotten early to make room.
        with pytest.raises(ReplayMemoryFull):
            host.memory.recall(mark(LIMITS.remembered_marks), "somebody")

    asyncio.run(course())


def test_replays_are_refused_while_marks_are_read(host: Host) -> None:
    """Until all marks are read, a request dated before the start is refused as too old."""
    fill(host, 2000)

    async def course() -> None:
        host.clock.advance(60.0)
        store = begin(host)
        await store.open()
        with pytest.raises(TooOld):
            host.memory.recall(mark(1999), "a")
        await store.load_marks()
        assert host.memory.recall(mark(1999), "a") == "id 1999"
        # The journal of this boot is intact, so a request with an unknown mark is new.
        assert host.memory.recall(mark(5000), "a") is None

    asyncio.run(course())


def test_marks_found_damaged_cost_no_live_lease_and_no_known_mark(host: Host) -> None:
    """Damaged marks cost no live lease; those read before are kept, the others are lost."""
    lease, read = host.lease(), LIMITS.marks_at_once
    fill(host, 3 * read, lease)
    Disk(host.path.parent).change(
        "UPDATE marks SET dated = dated + 1 WHERE request_id = ?", f"id {2 * read}"
    )

    async def course() -> None:
        host.clock.advance(30.0)
        store = await host.boot()
        for _ in range(2):
            store.check()
            assert "set aside" in host.said[0]
            assert served(store) == [lease.request_id]
            assert len(host.memory) == 2 * read
            assert host.memory.recall(mark(read), "a") == f"id {read}"
            for number in (2 * read, 2 * read + 1):
                with pytest.raises(TooOld):
                    host.memory.recall(mark(number), "a")
            # The loss is durable: the next process finds the same.
            host.clock.advance(10.0)
            host.crash()
            store = await host.boot()
        assert len(host.said) == 1

    asyncio.run(course())


def test_a_journal_that_goes_while_marks_are_read_is_tried_again(host: Host) -> None:
    """A journal lost while marks are read is reported, and read again from the first mark."""
    fill(host, 2000, lease := host.lease())

    async def course() -> None:
        store = begin(host)
        await store.open()
        assert store._journal is not None
        loading = asyncio.create_task(store.load_marks())
        while not len(host.memory):
            await asyncio.sleep(0)
        await asyncio.get_running_loop().run_in_executor(store._thread, store._journal.close)
        await loading
        assert "pushes are refused" in host.said[0]
        with pytest.raises(NotDurable):
            store.check()
        assert served(store) == [lease.request_id]
        assert await store.tend() == []
        store.check()
        assert len(host.memory) == 2000
        assert served(store) == [lease.request_id]

    asyncio.run(course())


def test_a_mark_that_stands_twice_keeps_its_last_request_id(host: Host) -> None:
    """A mark that is recorded twice is restored with the later request id."""
    disk = Disk(host.path.parent)
    journal = disk.open("one")
    journal.record(make_lease(request_id="first", mark=mark(1)))
    journal.record(make_lease(request_id="second", mark=mark(1)))
    disk.close()

    async def course() -> None:
        await host.boot()
        assert (host.memory.recall(mark(1), "a"), len(host.memory)) == ("second", 1)

    asyncio.run(course())
