"""The lease table: which keys sshd may accept now, for whom, and until when.

A TTL cache keyed by OS user. cachetools measures one entry's time to live; a user may have several
keys, so every lease carries its own expiry and the entry merely outlives the last of them. The
cache itself has no bound, because at its bound cachetools evicts live entries of other users: the
table counts, and refuses.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import takewhile

import cachetools

from agent.config.settings import Keys
from agent.host.clock import Clock
from agent.leases.lease import Lease, TableFull


class LeaseTable:
    """Live leases by OS user. Reading never consumes, and its cost does not depend on their number.

    Each operation uses one time throughout (it enters the cache's timer), so that check and use
    agree.
    """

    def __init__(self, settings: Keys, clock: Clock) -> None:
        self._settings = settings
        # A user's leases by slot, the oldest first.
        self._users: cachetools.TTLCache[str, dict[bytes, Lease]] = cachetools.TTLCache(
            maxsize=math.inf, ttl=settings.lifetime, timer=clock.boottime, getsizeof=len
        )
        # No lease ends before this time, so until then a full table need not be searched for room.
        self._next_end = 0.0

    def of(self, os_user: str) -> tuple[Lease, ...]:
        """The user's live leases, oldest first."""
        with self._users.timer as now:
            try:
                leases = self._users[os_user]  # get() would search twice
            except KeyError:
                return ()
            return tuple([lease for lease in leases.values() if now < lease.expires_at])

    def live(self) -> list[Lease]:
        """Every live lease."""
        with self._users.timer:
            return [lease for os_user in list(self._users) for lease in self.of(os_user)]

    def __len__(self) -> int:
        """How many leases are live."""
        with self._users.timer:
            self._sweep()
            return int(self._users.currsize)

    def check_room(self, lease: Lease) -> None:
        """Raise TableFull if adding it would evict a live key."""
        with self._users.timer as now:
            self._check_room(lease.os_user, lease.slot, now)

    def add(self, lease: Lease) -> None:
        """Make the lease live; it replaces one with the same key of the same user.

        Raises:
            TableFull: nothing was changed.
        """
        slot = lease.slot
        with self._users.timer as now:
            leases = self._check_room(lease.os_user, slot, now)
            leases.pop(slot, None)
            leases[slot] = lease
            self._put(lease.os_user, leases)
            self._next_end = min(self._next_end, lease.expires_at)

    def update(self, lease: Lease) -> None:
        """Put it in the place of the same push's lease, if that is still in the table."""
        with self._users.timer:
            leases = self._users.get(lease.os_user, {})
            held = leases.get(lease.slot)
            if held is not None and held.request_id == lease.request_id:
                leases[lease.slot] = lease

    def remove(self, leases: Iterable[Lease]) -> None:
        """Remove these leases, as far as they are live."""
        with self._users.timer:
            for lease in leases:
                # This lease, not any with its key: the key may have been pushed again meanwhile.
                left = [e for e in self.of(lease.os_user) if e.request_id != lease.request_id]
                self._put(lease.os_user, _by_slot(left))

    def _check_room(self, os_user: str, slot: bytes, now: float) -> dict[bytes, Lease]:
        """The user's leases, if there is room for this key. Raises TableFull."""
        leases = self._drop_ended(os_user, now)
        per_user, total = self._settings.per_user, self._settings.total
        more = slot not in leases
        if len(leases) + more > per_user:
            wait = min(lease.expires_at for lease in leases.values()) - now
            raise TableFull(
                f"{os_user} has {len(leases)} live keys, the maximum for one user", wait
            )
        if self._users.currsize + more > total:
            if now >= self._next_end:
                self._sweep()
            if self._users.currsize + more > total:
                raise TableFull(
                    f"this host has {total} live keys, the maximum", self._next_end - now
                )
        return leases

    def _drop_ended(self, os_user: str, now: float) -> dict[bytes, Lease]:
        """The user's leases without the ended ones, which are at the front."""
        leases = self._users.get(os_user, {})
        ended = [*takewhile(lambda slot: leases[slot].expires_at <= now, leases)]
        if ended:
            for slot in ended:
                del leases[slot]
            self._put(os_user, leases)
        return leases

    def _put(self, os_user: str, leases: dict[bytes, Lease]) -> None:
        if leases:
            self._users[os_user] = leases
        else:
            self._users.pop(os_user, None)

    def _sweep(self) -> None:
        """Drop every ended lease, and note when the next one ends."""
        self._users.expire()
        self._next_end = math.inf
        for os_user, leases in list(self._users.items()):
            live = self.of(os_user)
            if len(live) < len(leases):
                self._put(os_user, _by_slot(live))
            self._next_end = min([self._next_end, *(lease.expires_at for lease in live)])


def _by_slot(leases: Iterable[Lease]) -> dict[bytes, Lease]:
    return {lease.slot: lease for lease in leases}
