"""The audit record: every decision, one JSON object on a line of its own.

A record says who, from where, for which user, which key, which request, and what came of it. It
never holds a secret or a signature. Everything a caller chose is a JSON string in ASCII, so that no
byte of it can break out of its line or of a terminal. docs/audit.md is the list of the fields.
"""

from __future__ import annotations

import functools
import json
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Callable, Optional

from agent.audit.history import History
from agent.audit.lines import Dropped
from agent.audit.sampling import Decision, Group, Sampler, Sum, is_essential
from agent.config.limits import LIMITS
from agent.host.clock import Clock

# Made once; a record has no circles to look for.
_encode = json.JSONEncoder(check_circular=False).encode
_GAP = ("audit", "dropped")
# What a caller wrote is cut here: enough for every honest value, too little to flood a log with.
_LONGEST = 1024

Write = Callable[[bytes, int, Decision, bool], None]
"""Takes a line, its number, its decision, and whether it is essential (LineWriter.write)."""


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
        claimed_principal: the access key ID that a refused request named, which nobody verified.
        upstream_id: the request id that the source of an offer has for it, as EC2's #Request.
        issuer: the public key of the fleet's gateway that signed the lease, once that is verified.
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
    claimed_principal: Optional[str] = None
    process: Optional[str] = None
    upstream_id: Optional[str] = None
    issuer: Optional[str] = None


@dataclass
class Unwritten(Record):
    """Decisions that have no record of their own; the event is audit.

    Attributes:
        outcome: summed for those that a flood caused, dropped for those that found no room.
        count: how many they are.
        decisions: how many of each event and outcome, by EVENT/OUTCOME.
        kind: of what flood they are (summed).
        groups: whose they are, with the most of them (summed); others: how many are of the rest.
        first, last: when the first and the last were made (summed).
        first_seq, last_seq: the lowest and highest number of what was dropped (dropped).
    """

    count: Optional[int] = None
    decisions: Optional[Mapping[str, int]] = None
    kind: Optional[str] = None
    groups: Optional[Mapping[str, int]] = None
    others: Optional[int] = None
    first: Optional[str] = None
    last: Optional[str] = None
    first_seq: Optional[int] = None
    last_seq: Optional[int] = None


_FROM_CALLERS = frozenset(
    {"user_agent", "instance", "os_user", "reason", "principal", "claimed_principal"}
)


class Audit:
    """Takes every decision: writes it, counts it, and remembers it for `sixtykey why`.

    `counts` has every decision by event and outcome; under ("summed", EVENT) and ("dropped", EVENT)
    those that have no record of their own.
    """

    def __init__(self, write: Write, clock: Clock, history: History) -> None:
        self._write = write
        self._clock = clock
        self.history = history
        self.counts: Counter[tuple[str, str]] = Counter()
        self._run = secrets.token_hex(4)
        self._seq = 0
        self._sampler = Sampler()
        # What was dropped and is not yet told, and what the last record of that told, and when.
        self._lost: Optional[Dropped] = None
        self._told: Optional[Dropped] = None
        self._reported = float("-inf")

    def record(self, record: Record) -> None:
        """Record a decision that let somebody in, or changed something.

        It is not summed up, and does not give way to what is sampled.
        """
        self._take(record, True, self._clock.boottime())

    def sample(self, record: Record, group: Group, now: float) -> None:
        """Record a decision that a flood can cause, or count it, if its group had many of late.

        Args:
            group: what kind of flood, and whom it is counted for, as ("stranger", "203.0.113.7").
                For nobody verified that must be where it comes from, not who it claims to be.
            now: CLOCK_BOOTTIME, s.
        """
        decision = (record.event, record.outcome)
        if self._sampler.admit(decision, group, now):
            self._take(record, is_essential(group), now)
        else:
            self.counts[decision] += 1
            self.counts["summed", record.event] += 1

    def count(self, event: str, outcome: str) -> None:
        """Count a decision not worth a line, as a login for which nothing was ever pushed."""
        self.counts[event, outcome] += 1

    def report_summed(self, seconds: float = LIMITS.summing_seconds) -> None:
        """Record how many decisions were summed up, where that began so many seconds ago."""
        now = self._clock.boottime()
        for found in self._sampler.take_sums(now - seconds):
            self._take(self._summed(found, now), True, now)

    def report_dropped(
        self, dropped: Optional[Dropped], seconds: float = LIMITS.summing_seconds
    ) -> None:
        """Record what was dropped, unless the last such record is less than so many seconds old.

        While there is no room for any line, that one is dropped too, and taken into the next.
        """
        if dropped is not None:
            for (event, _), count in dropped.labels.items():
                self.counts["dropped", event] += count
            if self._lost is not None:
                dropped.add(self._lost)
            if self._told is not None and _GAP in dropped.labels:
                dropped.add(self._told)
            self._lost = dropped
        now = self._clock.boottime()
        if self._lost is not None and now >= self._reported + seconds:
            self._told, self._lost, self._reported = self._lost, None, now
            self._take(_gap(self._told), True, now)

    def _take(self, record: Record, essential: bool, now: float) -> None:
        decision = (record.event, record.outcome)
        self.counts[decision] += 1
        self._seq += 1
        known = self._as_dict(record)
        line = _encode(known).encode() + b"\n"
        self.history.note(known, line, now)
        self._write(line, self._seq, decision, essential)

    def _as_dict(self, record: Record) -> dict[str, object]:
        """The record's fields, with its time and its number."""
        known: dict[str, object] = {
            "time": _utc(self._clock.wall()),
            "run": self._run,
            "seq": self._seq,
        }
        for name, value in vars(record).items():
            if value is not None:
                known[name] = value[:_LONGEST] if name in _FROM_CALLERS else value
        return known

    def _summed(self, found: Sum, now: float) -> Unwritten:
        wall, count = self._clock.wall(), sum(found.decisions.values())
        return Unwritten(
            "audit",
            "summed",
            reason=f"{count} decisions were not written one by one",
            count=count,
            decisions=_by_name(found.decisions),
            kind=found.kind,
            groups=found.groups,
            others=found.others,
            first=_utc(wall - (now - found.first)),
            last=_utc(wall - (now - found.last)),
        )


def _gap(lost: Dropped) -> Unwritten:
    count = sum(lost.labels.values())
    return Unwritten(
        *_GAP,
        reason=f"{count} of the records {lost.first} to {lost.last} were not written",
        count=count,
        decisions=_by_name(lost.labels),
        first_seq=lost.first,
        last_seq=lost.last,
    )


def _by_name(decisions: Mapping[Decision, int]) -> dict[str, int]:
    return {f"{event}/{outcome}": count for (event, outcome), count in decisions.items()}


def _utc(wall: float) -> str:
    """A time (s since the Unix epoch) as ISO 8601 in UTC, to the millisecond."""
    second = int(wall)
    return f"{_utc_second(second)}.{int((wall - second) * 1000):03}Z"


@functools.lru_cache(maxsize=2)
def _utc_second(second: int) -> str:
    """Most records are of the same second as the one before."""
    return datetime.fromtimestamp(second, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
