"""Stores accepted pushes: durable first, then live, and only then acknowledged.

A journal on a disk is written in a separate thread, so that a disk that hangs delays pushes and
never a lookup: lookups read the table, which only the event loop changes. A journal in memory
(tmpfs, the packages' default) never blocks, so pushes write it directly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Callable, Optional, TypeVar

from agent.config.limits import LIMITS
from agent.config.settings import Keys
from agent.host.clock import Clock
from agent.host.memory import check_reserve
from agent.leases.consumption import Consumption
from agent.leases.journal import Damaged, Found, Journal
from agent.leases.lease import Lease, MarkMemory, NotDurable, TableFull
from agent.leases.revoked import Revoked
from agent.leases.table import LeaseTable

Report = Callable[[str], None]
T = TypeVar("T")


class LeaseStore:
    """The table, the memory of marks and the journal, together.

    `journal` None: leases end with the process, and every mark is lost with it.
    """

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
        self._last_job: Optional[Future[Any]] = None
        # What the journal contained when it was last opened; None if it could not be read.
        self._found: Optional[Found] = None
        # After the first successful read, the table (the memory of marks) is authoritative.
        self._leases_read = False
        self._consumed: dict[str, Consumption] = {}
        # Uses that are being written, by request id.
        self._uses: dict[str, asyncio.Task[None]] = {}
        self._revoked = Revoked()
        self._marks_read = journal is None

    async def open(self) -> list[Lease]:
        """Open the journal, and put its live leases into the table; returns all, revoked or not.

        Then lookups can be served, and after `load_marks` pushes. A journal that cannot be opened
        is reported, and pushes are refused until `tend` has opened it.
        """
        if self._journal is None:
            return []
        journal, now = self._journal, self._clock.boottime()
        self._found = found = await self._in_thread(
            lambda: journal.open(self._settings, now, self._report, self._unusable)
        )
        if found is None or self._leases_read:
            # A second read would bring back leases that were revoked meanwhile.
            return []
        self._leases_read = True
        self._consumed = {used.request_id: used for used in found.consumed}
        for lease in self._revoked.drop(found.leases):
            self._restore(lease)
        return found.leases

    async def load_marks(self) -> None:
        """Restore the marks of earlier processes, and make the journal sound."""
        journal = self._journal
        if journal is None or not journal.is_open:
            return
        try:
            anew = self._marks_read or not journal.sound
            if not self._marks_read:
                anew |= await self._read_marks(journal)
            if anew:
                leases, marks = self.table.live(), self._memory.accepted()
                state = self._memory.state
                consumed = list(self._consumed.values())
                await self._in_thread(lambda: journal.rewrite(leases, marks, state, consumed))
        except NotDurable as error:
            await self._in_thread(journal.close)
            self._unusable(str(error))

    def check(self) -> None:
        """Raise NotDurable if the journal cannot be used now, or memory is short."""
        self._check_journal()
        _check_memory()

    async def add(self, lease: Lease) -> None:
        """Journal the lease, then make it live and remember its mark.

        Raises TableFull or NotDurable: nothing was taken.
        """
        self._check_journal()
        self.table.check_room(lease)
        journal = self._journal
        if journal is not None:
            await self._at_once(lambda: journal.record(lease))
        if self._clock.boottime() >= lease.expires_at:
            raise NotDurable("the journal took longer than the key's lifetime")
        self.table.add(lease)
        if lease.mark is not None:
            sharer = lease.sharer or lease.principal
            self._memory.remember(lease.mark, lease.request_id, sharer)

    def consumption(self, request_id: str) -> Optional[Consumption]:
        """How the one-time key of a push was used; None: not used, not yet durably, or long ago."""
        return None if request_id in self._uses else self._consumed.get(request_id)

    async def finish_uses(self, request_ids: Iterable[str]) -> None:
        """Wait until uses of these pushes that are being written are durable, or undone."""
        writing = [self._uses[each] for each in request_ids if each in self._uses]
        if writing:
            await asyncio.wait(writing)

    async def consume(self, lease: Lease, used: Consumption) -> None:
        """Use up a live one-time lease. It is completed even if the caller is cancelled.

        Raises:
            NotDurable: the use could not be recorded, so the lease was not used.
        """
        self._check_journal()
        # It stays in the table without a use left: so it keeps its room, and can be revoked.
        self.table.update(replace(lease, uses=0))
        self._consumed[lease.request_id] = used
        writing = asyncio.ensure_future(self._write_use(lease, used))
        self._uses[lease.request_id] = writing
        await asyncio.shield(writing)

    async def revoke(self, leases: Iterable[Lease]) -> None:
        """End leases early: at once for lookups, then in the journal.

        Raises:
            NotDurable: they are gone from the table, but a restart before the next successful
                `tend` may bring them back.
        """
        gone = list(leases)
        self.table.remove(gone)
        self._revoked.note(gone)
        await self._remove_revoked()

    def revoke_unread(self, os_user: Optional[str], fingerprint: Optional[str]) -> None:
        """End such leases of a journal that could not be read yet. None: of any user, any key."""
        if self._journal is not None and not self._leases_read:
            self._revoked.note_unread(os_user, fingerprint, self._clock.boottime())

    def revoked_unread(self, request_id: str) -> Optional[float]:
        """When it was revoked (CLOCK_BOOTTIME, s), if the journal could not be read yet then."""
        return self._revoked.time_of(request_id)

    async def tend(self) -> list[Lease]:
        """Drop what has ended; reopen the journal if it failed or was removed.

        The caller holds the turn, so that no push is in progress. Returns the leases of a journal
        that could be read only now. Reports each time why pushes are refused.
        """
        try:
            _check_memory()
        except NotDurable as error:
            self._report(f"pushes are refused: {error}")
        self._memory.forget()
        self._forget_consumed()
        journal = self._journal
        if journal is None:
            return []
        try:
            await self._in_thread(journal.check_place)
        except NotDurable as error:
            self._report(f"{error}: live leases are written to a new one")
        if not (journal.sound and self._marks_read):
            restored = await self.open()
            await self.load_marks()
            with suppress(NotDurable):  # It is tried again.
                await self._remove_revoked()
            return restored
        with suppress(NotDurable):  # Pushes fail for the same reason and report it.
            now, wall, state = self._clock.boottime(), self._clock.wall(), self._memory.state
            await self._in_thread(lambda: journal.forget(now, wall, state))
            await self._remove_revoked()
        return []

    def close(self) -> None:
        """Wait for the write in progress, and close the journal."""
        self._thread.shutdown(wait=True)
        if self._journal is not None:
            self._journal.close()

    async def _write_use(self, lease: Lease, used: Consumption) -> None:
        journal = self._journal
        try:
            if journal is not None:
                await self._at_once(lambda: journal.consume(lease, used))
        except BaseException as error:
            self._consumed.pop(lease.request_id, None)
            # After any other error it may be written: the lease has no use left then.
            if isinstance(error, NotDurable):
                self.table.update(lease)  # Not if it was revoked meanwhile.
            raise
        finally:
            del self._uses[lease.request_id]
        self.table.remove([lease])

    async def _remove_revoked(self) -> None:
        """Remove from the journal what was revoked and may still be there. Raises NotDurable."""
        journal = self._journal
        gone = self._revoked.pending(self._clock.boottime())
        if journal is None:
            return
        await self._at_once(lambda: journal.remove(gone))
        self._revoked.settle(gone)

    def _forget_consumed(self) -> None:
        told = self._clock.boottime() - LIMITS.history_seconds
        self._consumed = {k: used for k, used in self._consumed.items() if used.expires_at > told}

    def _check_journal(self) -> None:
        if self._journal is not None and not self._journal.sound:
            raise NotDurable("the journal cannot be used")
        if not self._marks_read:
            raise NotDurable("the replay memory is not read yet")

    async def _read_marks(self, journal: Journal) -> bool:
        """Fill the memory, a few marks at a time. Returns whether the journal must be rewritten."""
        found, after, damaged = self._found, 0, False
        try:
            await self._in_thread(journal.check_marks)
            while marks := await self._in_thread(partial(journal.marks, after)):
                self._memory.restore(mark for _, mark in marks)
                after = marks[-1][0]
        except Damaged as damage:
            why, now, damaged = str(damage), self._clock.boottime(), True
            found = await self._in_thread(
                lambda: journal.begin_anew(why, self._settings, now, self._report, self._unusable)
            )
        if found is None:
            raise NotDurable("the replay memory cannot be read")
        self._memory.resume(found.horizon)
        self._memory.forget()  # an ended one needs no room
        self._marks_read = True
        return damaged

    def _restore(self, lease: Lease) -> None:
        if lease.uses == 0 or lease.request_id in self._consumed:
            return
        # Pushed in the future: by another clock, and it would live too long on this one.
        if not lease.pushed_at <= self._clock.boottime() < lease.expires_at:
            return
        if any(live.slot == lease.slot for live in self.table.of(lease.os_user)):
            return  # Pushed again since: newer than the journal's.
        try:
            self.table.add(lease)
        except TableFull as error:
            self._report(f"request {lease.request_id} is not restored: {error}")

    async def _at_once(self, work: Callable[[], T]) -> T:
        """Run it in this thread if the journal is in memory and no other thread is using it."""
        if self._in_memory and (self._last_job is None or self._last_job.done()):
            return work()
        return await self._in_thread(work)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run it in the journal's thread. It is awaited even if the caller is cancelled."""
        job = self._thread.submit(work)
        self._last_job = job
        return await asyncio.shield(asyncio.wrap_future(job))

    def _unusable(self, why: str) -> None:
        self._report(f"pushes are refused while the journal is unusable: {why}")


def _check_memory() -> None:
    try:
        check_reserve(LIMITS.memory_reserve_bytes)
    except MemoryError:
        raise NotDurable("out of memory") from None
