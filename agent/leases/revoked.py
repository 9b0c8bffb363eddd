"""Revoked leases that the journal may still hold, from which a restart would restore them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Optional

from agent.leases.lease import Lease


class Revoked:
    """What the journal must lose; and what to leave out when it is read later."""

    def __init__(self) -> None:
        self._pending: dict[str, Lease] = {}
        # OS user and fingerprint, None for any: revoked before the journal could be read.
        self._unread: set[tuple[Optional[str], Optional[str]]] = set()

    def note(self, leases: Iterable[Lease]) -> None:
        """Remember them until `settle`, or their end."""
        self._pending.update((lease.request_id, lease) for lease in leases)

    def note_unread(self, os_user: Optional[str], fingerprint: Optional[str]) -> None:
        """Leave out such leases when the journal is read. None: of any user, any key."""
        self._unread.add((os_user, fingerprint))

    def drop(self, found: Iterable[Lease]) -> list[Lease]:
        """What was read and not revoked before; the others are pending from now on."""
        leases = list(found)
        gone = [lease for lease in leases if self._was_revoked(lease)]
        self._unread.clear()
        self.note(gone)
        return [lease for lease in leases if lease.request_id not in self._pending]

    def pending(self, now: float) -> list[Lease]:
        """Those whose removal is not confirmed yet. `now`: CLOCK_BOOTTIME, s."""
        self._pending = {key: e for key, e in self._pending.items() if now < e.expires_at}
        return list(self._pending.values())

    def settle(self, leases: Iterable[Lease]) -> None:
        """They are no longer in the journal."""
        for lease in leases:
            self._pending.pop(lease.request_id, None)

    def _was_revoked(self, lease: Lease) -> bool:
        return any(
            os_user in (None, lease.os_user) and lease.is_for(fingerprint)
            for os_user, fingerprint in self._unread
        )
