"""A lease: one key for one OS user, live until its end; and why one cannot be taken."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Optional, Protocol

from agent.leases.keys import PublicKey


class TableFull(Exception):
    """No room for one more live key, for this user or at all; the words say which.

    `wait` is the time in seconds until the first of the keys in the way has expired.
    """

    def __init__(self, words: str, wait: float) -> None:
        super().__init__(words)
        self.wait = wait


class NotDurable(Exception):
    """The lease could not be made to outlive the process, so it was not taken."""


@dataclass(frozen=True)
class ReplayMark:
    """What a repeated offer would present again.

    `digest` is the SHA-256 of its signature, `dated` its date in seconds since the Unix epoch.
    """

    digest: bytes
    dated: float


@dataclass(frozen=True)
class Lease:
    """One key for one OS user, live in [pushed_at, expires_at) on CLOCK_BOOTTIME (seconds)."""

    os_user: str
    key: PublicKey
    request_id: str
    principal: str
    source: str
    pushed_at: float
    expires_at: float
    mark: Optional[ReplayMark] = None

    @cached_property
    def line(self) -> str:
        """What sshd gets: type, base64 and the request id, newline included."""
        return self.key.line(self.request_id)

    def is_for(self, fingerprint: Optional[str]) -> bool:
        """Whether sshd's %f names this key, in either of its forms; None names every key."""
        if fingerprint is None:
            return True
        if fingerprint.startswith("MD5:"):
            return fingerprint == self.key.md5_fingerprint
        return fingerprint == self.key.fingerprint


class LeaseSink(Protocol):
    """Whoever accepts a push hands the lease to one of these, and knows no more of it."""

    def check(self) -> None:
        """Raise NotDurable when no lease could be taken at present."""

    async def add(self, lease: Lease) -> None:
        """Take the lease. Raises TableFull or NotDurable, and then nothing is half there."""
