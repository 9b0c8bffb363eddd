"""A lease: one key for one OS user, live until its end; and the errors of taking one."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Optional, Protocol

from agent.config.key_policy import KEY_OPTIONS
from agent.leases.keys import PublicKey


class TableFull(Exception):
    """No room for another live key, of this user or in total; the message says which.

    `wait`: seconds until the first of these keys expires.
    """

    def __init__(self, words: str, wait: float) -> None:
        super().__init__(words)
        self.wait = wait


class NotDurable(Exception):
    """The lease could not be made durable, so it was not taken."""


class ReplayMark(NamedTuple):
    """Identifies an offer, so that a repeated one is recognised.

    `digest` identifies the offer (for a signed request, the SHA-256 of its signature); `dated` is
    the offer's own date, in wall-clock seconds since the Unix epoch.
    """

    digest: bytes
    dated: float


class AcceptedMark(NamedTuple):
    """The mark of an accepted push, the push's request id, and whose share it takes."""

    mark: ReplayMark
    request_id: str
    principal: str


class Horizon(NamedTuple):
    """The time before which an unknown mark may belong to an accepted, forgotten push.

    `dated` (wall clock, s): unknown marks dated at or before it are refused. `lost_at`
    (CLOCK_BOOTTIME of this boot, s, or None): pushes accepted until then may be unknown too.
    """

    dated: float = float("-inf")
    lost_at: Optional[float] = None


@dataclass(frozen=True)
class Lease:
    """One key for one OS user, live in [pushed_at, expires_at) on CLOCK_BOOTTIME (seconds).

    `uses` is how many logins are left, None for any number; `options` are from KEY_OPTIONS, in that
    order; `pinned_source` is the only address, or IPv6 /64, from which the key is valid. `sharer`:
    whose share of the replay memory the mark takes; None: the principal's.

    Raises:
        ValueError: options or the pinned source are not in their canonical form.
    """

    os_user: str
    key: PublicKey
    request_id: str
    principal: str
    source: str
    pushed_at: float
    expires_at: float
    mark: Optional[ReplayMark] = None
    uses: Optional[int] = None
    options: tuple[str, ...] = ()
    pinned_source: Optional[str] = None
    sharer: Optional[str] = None

    def __post_init__(self) -> None:
        """Check the text that is written before the key, whatever the lease's source."""
        if self.options and self.options != tuple(e for e in KEY_OPTIONS if e in self.options):
            raise ValueError(f"options {self.options!r} are not known ones in their order")
        if self.pinned_source is not None:
            _check_pinned_source(self.pinned_source)
        if self.uses is not None and self.uses < 0:
            raise ValueError(f"{self.uses} uses left")

    @cached_property
    def line(self) -> str:
        """What sshd gets: options if there are any, type, base64, the request id, and newline."""
        source = () if self.pinned_source is None else (f'from="{self.pinned_source}"',)
        options = ",".join((*source, *self.options))
        line = self.key.line(self.request_id)
        return f"{options} {line}" if options else line

    @cached_property
    def slot(self) -> bytes:
        """Identifies a lease among the user's: its key; if one-time, its key and push.

        So a key that is pushed again is renewed, and a one-time key that is pushed twice admits two
        logins.
        """
        return self.key.blob if self.uses is None else self.key.blob + self.request_id.encode()

    def is_for(self, fingerprint: Optional[str]) -> bool:
        """Whether sshd's %f, in either form, is this key's; None matches every key."""
        if fingerprint is None:
            return True
        if fingerprint.startswith("MD5:"):
            return fingerprint == self.key.md5_fingerprint
        return fingerprint == self.key.fingerprint


class MarkMemory(Protocol):
    """Recognises repeated offers; the store fills it from the journal, and the journal from it."""

    @property
    def state(self) -> Horizon:
        """What must be durable in addition to the marks."""

    def accepted(self) -> list[AcceptedMark]:
        """Every mark that is remembered."""

    def remember(self, mark: ReplayMark, request_id: str, principal: str) -> None:
        """Recognise this mark from now on."""

    def restore(self, marks: Iterable[AcceptedMark]) -> None:
        """Recognise these marks, which an earlier process accepted."""

    def resume(self, horizon: Horizon) -> None:
        """Adopt an earlier process's horizon: all that it knew is known."""

    def forget(self) -> None:
        """Drop marks that are too old to be presented."""


def _check_pinned_source(source: str) -> None:
    """Raise ValueError unless it is an address, or an IPv6 /64, in canonical spelling."""
    network = ipaddress.ip_network(source)
    whole = network.prefixlen == network.max_prefixlen
    spelled = str(network.network_address if whole else network)
    if spelled != source or not (whole or (network.version == 6 and network.prefixlen == 64)):
        raise ValueError(f"{source!r} is not an address, nor an IPv6 /64, in canonical spelling")
