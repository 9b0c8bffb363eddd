"""What was decided lately, by OS user: the answer to "the push succeeded, why was I refused?".

Bounded, in memory only: it explains, it never decides.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Optional

import cachetools

from agent.config import LIMITS
from agent.leases import Lease


class History:
    """Recent decisions and recent leases of each OS user; the user seen longest ago goes first."""

    def __init__(
        self, users: int = LIMITS.history_users, each: int = LIMITS.history_per_user
    ) -> None:
        self._each = each
        self._decisions: cachetools.LRUCache[str, deque[dict[str, Any]]] = cachetools.LRUCache(
            users
        )
        self._leases: cachetools.LRUCache[str, deque[Lease]] = cachetools.LRUCache(users)
        self._revoked: cachetools.LRUCache[str, float] = cachetools.LRUCache(users)

    def note(self, os_user: str, decision: dict[str, Any]) -> None:
        """Remember an audit record of this user."""
        if os_user not in self._decisions:
            self._decisions[os_user] = deque(maxlen=self._each)
        self._decisions[os_user].append(decision)

    def pushed(self, lease: Lease) -> None:
        """Remember a lease, to explain refusals after its end."""
        if lease.os_user not in self._leases:
            self._leases[lease.os_user] = deque(maxlen=self._each)
        self._leases[lease.os_user].append(lease)

    def revoked(self, lease: Lease, now: float) -> None:
        """The lease was ended at `now` (CLOCK_BOOTTIME, s), before its time."""
        self._revoked[lease.request_id] = now

    def of(self, os_user: str) -> list[dict[str, Any]]:
        """The user's recent decisions, newest first."""
        return list(reversed(self._decisions.get(os_user, ())))

    def explain(self, os_user: str, fingerprint: Optional[str], now: float) -> Optional[str]:
        """Why a lookup gave nothing, in words; None when nothing was pushed for the user lately.

        Args:
            fingerprint: the key that sshd asked for, if it named one.
            now: CLOCK_BOOTTIME in seconds.
        """
        leases = [
            lease
            for lease in reversed(self._leases.get(os_user, ()))
            if now < lease.expires_at + LIMITS.history_seconds
        ]
        if not leases:
            return None
        for lease in leases:
            if lease.is_for(fingerprint):
                return f"{self._end(lease, now)} (request {lease.request_id})"
        last = leases[0]
        return (
            f"another fingerprint: the key pushed for this user was {last.key.fingerprint} "
            f"(request {last.request_id}), {self._end(last, now)}"
        )

    def _end(self, lease: Lease, now: float) -> str:
        revoked = self._revoked.get(lease.request_id)
        if revoked is not None:
            return f"revoked {now - revoked:.0f} s ago"
        if now >= lease.expires_at:
            return f"expired {now - lease.expires_at:.0f} s ago"
        return f"live for {lease.expires_at - now:.0f} s more"
