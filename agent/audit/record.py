"""The audit record: every decision, one JSON object on a line of its own.

A record says who, from where, for which user, which key, which request, and what came of it. It
never holds a secret or a signature. Everything a caller chose is a JSON string in ASCII, so that no
byte of it can break out of its line or of a terminal.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Callable, Optional

import cachetools

from agent.audit.history import History
from agent.config.settings import LIMITS
from agent.host.bucket import Bucket
from agent.host.clock import Clock

# What a caller wrote is cut here: enough for every honest value, too little to flood a log with.
_LONGEST = 1024


@dataclass
class Record:
    """One decision. What is unknown stays None and is not written.

    Attributes:
        event: push, lookup; an operator's list, revoke, status, why, identity and reload; the
            daemon's own start, reload and stop.
        outcome: allowed or the error's code; for lookups given or none; for the daemon's own, done.
        principal: the access key ID, or uid:N on a Unix socket.
        reason: for people: the error's message, or why a lookup gave nothing.
        claimed_os_user: whom a request named that was refused before it was read.
        process: the sshd process that an admission is about: its id and its start.
        upstream_id: the request id that the source of an offer has for it, as EC2's #Request.
    """

    event: str
    outcome: str
    request_id: Optional[str] = None
    principal: Optional[str] = None
    source: Optional[str] = None
    user_agent: Optional[str] = None
    tls: Optional[str] = None
    client_certificate: Optional[str] = None
    instance: Optional[str] = None
    os_user: Optional[str] = None
    key_type: Optional[str] = None
    fingerprint: Optional[str] = None
    public_key: Optional[str] = None
    reason: Optional[str] = None
    replay: Optional[bool] = None
    claimed_os_user: Optional[str] = None
    process: Optional[str] = None
    upstream_id: Optional[str] = None

    def as_dict(self, wall: float) -> dict[str, object]:
        """The record's fields, with its time; `wall` is in seconds since the Unix epoch."""
        time = datetime.fromtimestamp(wall, timezone.utc).isoformat(timespec="milliseconds")
        known: dict[str, object] = {"time": time.replace("+00:00", "Z")}
        for name, value in vars(self).items():
            if value is not None:
                known[name] = value[:_LONGEST] if name in _FROM_CALLERS else value
        return known


_FROM_CALLERS = frozenset({"user_agent", "instance", "os_user", "reason", "principal"})


class Audit:
    """Takes every decision: writes it, counts it, and remembers it for `sixtykey why`."""

    def __init__(self, write: Callable[[bytes], None], clock: Clock, history: History) -> None:
        self._write = write
        self._clock = clock
        self.history = history
        self.counts: Counter[tuple[str, str]] = Counter()
        self._skipped = 0
        self._groups: cachetools.LRUCache[tuple[str, str], Bucket] = cachetools.LRUCache(
            LIMITS.failure_sources
        )

    def record(self, record: Record) -> None:
        """One decision was made."""
        self.count(record.event, record.outcome)
        known = record.as_dict(self._clock.wall())
        line = json.dumps(known).encode() + b"\n"
        self.history.note(known, line, self._clock.boottime())
        self._write(line)

    def count(self, event: str, outcome: str) -> None:
        """A decision not worth a line, such as a login for which nothing was ever pushed."""
        self.counts[event, outcome] += 1

    def sample(self, record: Record, group: tuple[str, str], now: float) -> None:
        """A decision of which there may be a flood: the first of each group are written.

        `now`: CLOCK_BOOTTIME, s.
        """
        bucket = self._groups.get(group)
        if bucket is None:
            rate, burst = LIMITS.strangers_per_second, LIMITS.strangers_burst
            bucket = self._groups[group] = Bucket.full(rate, burst, now)
        if bucket.wait(now) > 0.0:
            self.skip(record.event, record.outcome)
        else:
            bucket.take()
            self.record(record)

    def skip(self, event: str, outcome: str) -> None:
        """A decision like too many before it: counted, and told of together with others."""
        self.count(event, outcome)
        self._skipped += 1

    def dropped(self, lines: int) -> None:
        """So many records could not be written, or were skipped: that is a record of its own."""
        missing, self._skipped = lines + self._skipped, 0
        if missing:
            self.record(Record("audit", "dropped", reason=f"{missing} records were not written"))
