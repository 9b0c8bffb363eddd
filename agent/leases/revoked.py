"""Revoked leases that the journal may still hold, from which a restart would restore them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Optional

from agent.leases.lease import Lease


class Revoked:
    """What the journal must lose; and what to leave out when it is read later."""

    def __init__(self) -> None:
        self._pending: dict[str, Lease] = {}
        # When (CLOCK_BOOTTIME, s) OS user and fingerprint, None for any, were revoked before the
        # journal could be read; and when leases were, by request id, as it was read.
        self._unread: dict[tuple[Optional[str], Optional[str]], float] = {}
        self._times: dict[str, float] = {}

    def note(self, leases: Iterable[Lease]) -> None:
        """Remember them until `settle`, or their end."""
        self._pending.update((lease.request_id, lease) for lease in leases)

    def note_unread(self, os_user: Optional[str], fingerprint: Optional[str], now: float) -> None:
        """Leave out such leases when the journal is read. None: of any user, any key.

        `now`: CLOCK_BOOTTIME, s.
        """
        self._unread.setdefault((os_user, fingerprint), now)

    def drop(self, found: Iterable[Lease]) -> list[Lease]:
        """What was read and not revoked before; the others are pending from now on."""
        leases = list(found)
        gone = []
        for lease in leases:
            times = self._times_for(lease)
            gone += [lease] if times else []
            # A lease that had ended before was not ended by the revocation.
            if times and min(times) < lease.expires_at:
                self._times[lease.request_id] = min(times)
        self._unread.clear()
        self.note(gone)
        return [lease for lease in leases if lease.request_id not in self._pending]

    def time_of(self, request_id: str) -> Optional[float]:
        """When `drop` left it out as revoked (CLOCK_BOOTTIME, s); None: it did not."""
        return self._times.get(request_id)

    def pending(self, now: float) -> list[Lease]:
        """Those whose removal is not confirmed yet. `now`: CLOCK_BOOTTIME, s."""
        self._pending = {key: e for key, e in self._pending.items() if now < e.expires_at}
        return list(self._pending.values())

    def settle(self, leases: Iterable[Lease]) -> None:
        """They are no longer in the journal."""
        for lease in leases:
            self._pending.pop(lease.request_id, None)

    def _times_for(self, lease: Lease) -> list[float]:
        return [
            at
            for (os_user, fingerprint), at in self._unread.items()
            if os_user in (None, lease.os_user) and lease.is_for(fingerprint)
        ]
