"""Where accepted pushes go: durable first, then live, and only then acknowledged.

A journal on a disk works in a thread of its own, so that a disk that stands still holds up pushes
and never a lookup: lookups read the table, which is touched only between two turns of the event
loop. One in memory (tmpfs, as the packages have it) waits for nothing, and is spared the thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Callable, Optional, TypeVar

from agent.config.settings import LIMITS, Keys
from agent.host.clock import Clock
from agent.host.memory import check_reserve
from agent.leases.journal import Journal
from agent.leases.journal_rows import Remembered
from agent.leases.lease import AcceptedMark, Lease, MarkMemory, NotDurable, TableFull
from agent.leases.table import LeaseTable

Report = Callable[[str], None]
T = TypeVar("T")


class LeaseStore:
    """The local table and its journal, as one sink. `journal` None: leases end with the process."""

    def __init__(
        self,
        settings: Keys,
        journal: Optional[Journal],
        memory: MarkMemory,
        clock: Clock,
        report: Report,
        in_memory: bool = False,
    ) -> None:
        self.table = LeaseTable(settings, clock)
        self._settings = settings
        self._journal = journal
        self._memory = memory
        self._clock = clock
        self._report = report
        self._in_memory = in_memory
        self._thread = ThreadPoolExecutor(1, "journal")
        # Whether the journal was read once. From then on the table is right, and it follows.
        self._read = False
        self._unread = Remembered([], [])

    async def open(self) -> list[Lease]:
        """Open the journal, and put the leases that it holds back into the table: these.

        One that cannot be opened is reported; pushes are refused until `tend` could open it.
        """
        return self._restore(await self._in_thread(lambda: self._open([])))

    async def load_marks(self) -> None:
        """Have the memory recognise what an earlier process accepted. Before, take no push."""
        marks = [AcceptedMark(mark, name, "") for mark, name in self._unread.answered]
        self._memory.restore(marks)
        if self._unread.incomplete:
            self._memory.lose(self._clock.boottime())
        self._unread = Remembered([], [])

    def check(self) -> None:
        """Raise NotDurable when the journal cannot be used at present, or memory runs out."""
        if self._journal is not None and not self._journal.sound:
            raise NotDurable("the journal cannot be used")
        _check_memory()

    async def add(self, lease: Lease) -> None:
        """Journal the lease, then make it live and remember its mark.

        Raises TableFull or NotDurable: nothing was taken.
        """
        self.table.check_room(lease.os_user, lease.key)
        journal = self._journal
        if journal is not None:
            await self._in_thread(lambda: journal.record(lease))
        if self._clock.boottime() >= lease.expires_at:
            raise NotDurable("the journal took longer than the key's lifetime")
        self.table.add(lease)
        if lease.mark is not None:
            self._memory.remember(lease.mark, lease.request_id, lease.principal)

    async def revoke(self, leases: Iterable[Lease]) -> None:
        """End leases before their time: for lookups at once, then in the journal too.

        Raises:
            NotDurable: they are gone from the table, but a restart may bring them back.
        """
        gone = list(leases)
        self.table.remove(gone)
        journal = self._journal
        if journal is not None:
            await self._in_thread(lambda: journal.remove(gone))

    async def tend(self) -> list[Lease]:
        """Drop from the journal what has ended; open it again where it could not be used.

        Returns leases that are live again. Call it in turn: no push may be half there.

        What keeps pushes from being taken is reported, each time.
        """
        try:
            _check_memory()
        except NotDurable as error:
            self._report(f"no push is taken: {error}")
        journal = self._journal
        if journal is None:
            return []
        if not journal.sound:
            live = self.table.live()
            restored = self._restore(await self._in_thread(lambda: self._open(live)))
            await self.load_marks()
            return restored
        with suppress(NotDurable):  # Pushes meet the same trouble and say so; this is tidying.
            now, wall = self._clock.boottime(), self._clock.wall()
            await self._in_thread(lambda: journal.forget(now, wall))
        return []

    def close(self) -> None:
        """Let what is being written end, and close the journal."""
        self._thread.shutdown(wait=True)
        if self._journal is not None:
            self._journal.close()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._in_memory:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _restore(self, remembered: Remembered) -> list[Lease]:
        self._unread = remembered
        for lease in remembered.leases:
            # Pushed later than now: by another clock, and it would outlive its time on this one.
            if not lease.pushed_at <= self._clock.boottime() < lease.expires_at:
                continue
            if any(live.key == lease.key for live in self.table.of(lease.os_user)):
                continue  # Pushed again since, and so newer than what the journal had.
            try:
                self.table.add(lease)
            except TableFull as error:
                self._report(f"request {lease.request_id} is not restored: {error}")
        return remembered.leases

    def _open(self, live: list[Lease]) -> Remembered:
        """Open the journal, in which `live` shall stand; what it held, if it was not read before.

        Read a second time it would bring back what was revoked while it could not be written.
        """
        journal = self._journal
        if journal is None:
            return Remembered([], [])
        journal.close()
        remembered = journal.open(self._settings, self._report, self._unusable)
        if not self._read:
            # A journal that could not even be read has nothing; another process may have it.
            self._read = journal.sound or bool(remembered.leases)
            return remembered
        try:
            if journal.sound:
                journal.replace(live)
        except NotDurable as error:
            journal.close()
            self._unusable(str(error))
        return Remembered([], [])

    def _unusable(self, why: str) -> None:
        self._report(f"no push is taken while the journal cannot be used: {why}")


def _check_memory() -> None:
    try:
        check_reserve(LIMITS.memory_reserve_bytes)
    except MemoryError:
        raise NotDurable("there is no memory left") from None
