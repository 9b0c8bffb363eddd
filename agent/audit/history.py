"""Recent decisions by OS user: they answer "the push succeeded, why was my login refused?".

Bounded, in memory only; used for explanations, never for decisions. What anybody can cause without
a credential (a refused request with an unverified sender, a login of a user without a push) is kept
separately, so that a flood of it displaces no real decision.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Optional

import cachetools

from agent.audit.recent import Recent
from agent.config.limits import LIMITS
from agent.leases.lease import Lease

_EVENTS = frozenset({"push", "lookup", "revoke", "admission"})


class _Entry:
    """A record and its time (CLOCK_BOOTTIME, s). As JSON: a dict takes three times the memory."""

    __slots__ = ("at", "kind", "line", "times")

    def __init__(
        self, at: float, line: bytes, kind: Optional[tuple[Optional[str], ...]] = None
    ) -> None:
        self.at = at
        # Equal for repeated lookups; None for everything else.
        self.kind = kind
        self.line = line
        self.times = 1

    def as_dict(self, now: float) -> dict[str, Any]:
        """The record, with its age in seconds and how often it was repeated."""
        record: dict[str, Any] = json.loads(self.line)
        record.pop("public_key", None)
        return {**record, "age": round(now - self.at, 3), "times": self.times}


def _entry_size(entry: _Entry) -> int:
    """The memory that it takes (bytes)."""
    return LIMITS.history_entry_bytes + len(entry.line)


def _lease_size(lease: Lease) -> int:
    """The memory that it takes (bytes)."""
    # Four times the blob: a lookup adds the key's base64 and sshd's line, which are cached.
    return LIMITS.history_lease_bytes + 4 * len(lease.key.blob)


class _Miss:
    """Logins of a user without a push: when the last was, how many, and with which key."""

    __slots__ = ("at", "fingerprint", "times")

    def __init__(self) -> None:
        self.at = 0.0
        self.fingerprint: Optional[str] = None
        self.times = 0


class Explanation(NamedTuple):
    """Why a lookup gave no key. `request_id`: the push of the requested key, if there was one."""

    reason: str
    request_id: Optional[str] = None


class History:
    """Recent decisions and leases of each OS user; the user seen longest ago is forgotten first.

    `room` limits (bytes) push decisions, lookup decisions and leases, each separately.
    """

    def __init__(
        self, each: int = LIMITS.history_per_user, room: int = LIMITS.history_bytes
    ) -> None:
        self._pushes: Recent[_Entry] = Recent(each, room, _entry_size)
        # Separate from pushes: anybody can cause lookups by trying to log in.
        self._lookups: Recent[_Entry] = Recent(each, room, _entry_size)
        self._leases: Recent[Lease] = Recent(each, room, _lease_size)
        self._claims: deque[tuple[str, _Entry]] = deque(maxlen=LIMITS.history_claims)
        self._unwritten: deque[_Entry] = deque(maxlen=LIMITS.history_unwritten)
        users = LIMITS.history_users
        self._misses: cachetools.LRUCache[str, _Miss] = cachetools.LRUCache(users)
        self._revoked: cachetools.LRUCache[str, float] = cachetools.LRUCache(users)
        self._used: cachetools.LRUCache[str, tuple[float, str]] = cachetools.LRUCache(users)

    def note(self, record: Mapping[str, Any], line: bytes, now: float) -> None:
        """Remember an audit record that explains a login. `now`: CLOCK_BOOTTIME, s.

        It is about one OS user, or about decisions that were only counted. Fields that are unknown
        are None or missing. `line`: the record as JSON.
        """
        if record["event"] == "audit":
            self._unwritten.append(_Entry(now, line))
        if record["event"] not in _EVENTS:
            return
        os_user, claimed = record.get("os_user"), record.get("claimed_os_user")
        if os_user is None:
            if claimed is not None:
                self._claims.append((claimed, _Entry(now, line)))
            return
        os_user = os_user[: LIMITS.recorded_characters]
        if record["event"] == "lookup":
            self._note_lookup(os_user, record, line, now)
        else:
            self._pushes.add(os_user, _Entry(now, line))

    def _note_lookup(
        self, os_user: str, record: Mapping[str, Any], line: bytes, now: float
    ) -> None:
        # sshd asks twice for a key that it accepts.
        kind = (record["outcome"], record.get("fingerprint"), record.get("request_id"))
        entry = _Entry(now, line, kind)
        before = self._lookups.latest(os_user)
        if before is not None and before.kind == entry.kind:
            entry.times += before.times
            self._lookups.replace_latest(os_user, entry)
        else:
            self._lookups.add(os_user, entry)

    def record_miss(self, os_user: str, fingerprint: Optional[str], now: float) -> None:
        """Count a lookup for a user without a recent push, as in any ordinary login."""
        miss = self._misses.get(os_user)
        if miss is None:
            miss = self._misses[os_user] = _Miss()
        miss.at, miss.fingerprint, miss.times = now, fingerprint, miss.times + 1

    def record_push(self, lease: Lease) -> None:
        """Remember a lease, to explain refusals after it has ended."""
        self._leases.add(lease.os_user, lease)

    def record_revocation(self, lease: Lease, now: float) -> None:
        """Note that the lease was revoked at `now` (CLOCK_BOOTTIME, s)."""
        self._revoked[lease.request_id] = now

    def record_use(self, lease: Lease, source: str, now: float) -> None:
        """Note that a login from `source` used the one-time lease at `now` (CLOCK_BOOTTIME, s)."""
        self._used[lease.request_id] = (now, source)

    def of(self, os_user: str, now: float) -> list[dict[str, Any]]:
        """The user's recent decisions as audit records, newest first, with `age` and `times`."""
        entries = [
            *self._pushes.of(os_user),
            *self._lookups.of(os_user),
            *(entry for claimed, entry in self._claims if claimed == os_user),
        ]
        entries.sort(key=lambda entry: entry.at, reverse=True)
        return [entry.as_dict(now) for entry in entries]

    def unwritten(self, now: float) -> list[dict[str, Any]]:
        """The last records of summed and dropped decisions, newest first, with `age`.

        They cover all users: a decision that is missing for one user may be counted in them.
        """
        recent = (e for e in reversed(self._unwritten) if now < e.at + LIMITS.history_seconds)
        return [entry.as_dict(now) for entry in recent]

    def last_miss(self, os_user: str, now: float) -> Optional[dict[str, Any]]:
        """The last login of the user while no key had been pushed; None when there was none.

        `pushed_for` lists the other users for whom the same key was pushed recently.
        """
        miss = self._misses.get(os_user)
        if miss is None:
            return None
        others = [
            lease.os_user
            for lease in self._recent(now)
            if miss.fingerprint is not None and lease.is_for(miss.fingerprint)
        ]
        return {
            "fingerprint": miss.fingerprint,
            "age": round(now - miss.at, 3),
            "times": miss.times,
            "pushed_for": sorted(set(others) - {os_user}),
        }

    def _recent(self, now: float) -> Iterator[Lease]:
        yield from (e for e in self._leases if now < e.expires_at + LIMITS.history_seconds)

    def explain(
        self, os_user: str, fingerprint: Optional[str], now: float
    ) -> Optional[Explanation]:
        """Why a lookup gave no key; None when no key was pushed for the user recently.

        Args:
            fingerprint: the key that sshd asked for, if it named one.
            now: CLOCK_BOOTTIME in seconds.
        """
        leases = [
            lease
            for lease in reversed(self._leases.of(os_user))
            if now < lease.expires_at + LIMITS.history_seconds
        ]
        if not leases:
            return None
        for lease in leases:
            if lease.is_for(fingerprint):
                words = f"{self._describe_state(lease, now)} (request {lease.request_id})"
                return Explanation(words, lease.request_id)
        last = leases[0]
        return Explanation(
            f"another fingerprint: the key pushed for this user was {last.key.fingerprint} "
            f"(request {last.request_id}), {self._describe_state(last, now)}"
        )

    def _describe_state(self, lease: Lease, now: float) -> str:
        used = self._used.get(lease.request_id)
        if used is not None:
            at, source = used
            return f"used once already, {now - at:.0f} s ago, by the login from {source}"
        revoked = self._revoked.get(lease.request_id)
        if revoked is not None:
            return f"revoked {now - revoked:.0f} s ago"
        if now >= lease.expires_at:
            return f"expired {now - lease.expires_at:.0f} s ago"
        return f"live for {lease.expires_at - now:.0f} s more"


class NoHistory(History):
    """Remembers no decision. For a gateway: hosts explain theirs, and refusals are in Attempts."""

    def note(self, record: Mapping[str, Any], line: bytes, now: float) -> None:
        """Forget it."""
