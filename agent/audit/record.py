"""The audit record: every decision, one JSON object on a line of its own.

A record says who, from where, for which user, which key, which request, and the outcome. It never
has a secret or a signature. Whatever a caller chose is a JSON string in ASCII, so that it cannot
start a new line or send control characters to a terminal. docs/audit.md lists the fields.
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
from agent.leases.keys import PublicKey

# Made once, and without a search for reference cycles: records have none.
_encode = json.JSONEncoder(check_circular=False).encode
_DROPPED = ("audit", "dropped")
_LONGEST = LIMITS.recorded_characters

Write = Callable[[bytes, int, Decision, bool], None]
"""Takes a line, its number, its decision, and whether it is essential (LineWriter.write)."""


@dataclass
class Record:
    """One decision. Unknown fields stay None and are not written.

    Attributes:
        event: push, lookup; an operator's list, revoke, status, why, identity and reload; the
            daemon's own start, reload and stop.
        outcome: allowed or the error's code; for lookups given or none; for the daemon's own, done.
        principal: the access key ID, or uid:N on a Unix socket.
        reason: for people: the error's message, or why a lookup gave nothing.
        claimed_os_user: the OS user in a request that was refused before it was parsed.
        process: the sshd process that an admission is about: its id and its start.
        claimed_principal: the unverified access key ID of a refused request.
        upstream_id: the request id that an offer has at its source, such as EC2's #Request.
        issuer: the public key of the fleet's gateway that signed the lease, once it is verified.
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

    def note_key(self, key: PublicKey) -> None:
        """Fill in the pushed key: its type, its fingerprint and the key itself."""
        self.key_type, self.fingerprint, self.public_key = key.type, key.fingerprint, key.base64


@dataclass
class Unwritten(Record):
    """Decisions without their own record; the event is audit.

    Attributes:
        outcome: summed (a flood's) or dropped (the log was too slow).
        count: their number.
        decisions: the number of each, by EVENT/OUTCOME.
        kind: the kind of flood that caused them (summed).
        groups: the groups with the most decisions, with their numbers (summed).
        others: the number of decisions of all other groups (summed).
        first, last: the times of the first and the last decision (summed).
        first_seq, last_seq: the lowest and the highest missing number (dropped).
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


class Audit:
    """Writes every decision, counts it, and remembers it for `sixtykey why`.

    `counts` has every decision by event and outcome; ("summed", EVENT) and ("dropped", EVENT) count
    those without their own record.
    """

    def __init__(self, write: Write, clock: Clock, history: History) -> None:
        self._write = write
        self._clock = clock
        self.history = history
        self.counts: Counter[tuple[str, str]] = Counter()
        self._run = secrets.token_hex(4)
        self._seq = 0
        self._sampler = Sampler()
        # Dropped lines that no record reports yet; those of the last report, and its time.
        self._unreported: Optional[Dropped] = None
        self._last_report: Optional[Dropped] = None
        self._reported_at = float("-inf")

    def record(self, record: Record) -> None:
        """Record a decision that granted access or changed something.

        It is always written, and sampled records do not displace it.
        """
        self._write_record(record, True, self._clock.boottime())

    def sample(self, record: Record, group: Group, now: float) -> None:
        """Record a decision that a flood can cause, or only count it if its group has had many.

        Args:
            group: the kind of flood and the source, as ("stranger", "203.0.113.7"). An unverified
                sender is grouped by its address, never by the identity that it claims.
            now: CLOCK_BOOTTIME, s.
        """
        decision = (record.event, record.outcome)
        if self._sampler.admit(decision, group, now):
            self._write_record(record, is_essential(group), now)
        else:
            self.counts[decision] += 1
            self.counts["summed", record.event] += 1

    def count(self, event: str, outcome: str) -> None:
        """Count a decision without recording it, such as a login of a user without a push."""
        self.counts[event, outcome] += 1

    def report_summed(self, seconds: float = LIMITS.summing_seconds) -> None:
        """Record the sums that are at least this many seconds old."""
        now = self._clock.boottime()
        for found in self._sampler.take_sums(now - seconds):
            self._write_record(self._summed_record(found, now), True, now)

    def report_dropped(
        self, dropped: Optional[Dropped], seconds: float = LIMITS.summing_seconds
    ) -> None:
        """Record what was dropped, at most once in this many seconds.

        If that record is dropped itself, the next one includes it.
        """
        if dropped is not None:
            for (event, _), count in dropped.labels.items():
                self.counts["dropped", event] += count
            if self._unreported is not None:
                dropped.add(self._unreported)
            if self._last_report is not None and _DROPPED in dropped.labels:
                dropped.add(self._last_report)
            self._unreported = dropped
        now = self._clock.boottime()
        if self._unreported is not None and now >= self._reported_at + seconds:
            self._last_report, self._unreported, self._reported_at = self._unreported, None, now
            self._write_record(_dropped_record(self._last_report), True, now)

    def _write_record(self, record: Record, essential: bool, now: float) -> None:
        decision = (record.event, record.outcome)
        self.counts[decision] += 1
        self._seq += 1
        line = self._encode(record)
        self.history.note(vars(record), line, now)
        self._write(line, self._seq, decision, essential)

    def _encode(self, record: Record) -> bytes:
        """The record as a line of JSON, with its time and its number."""
        time = _utc(self._clock.wall())
        fields = [f'{{"time": "{time}", "run": "{self._run}", "seq": {self._seq}']
        # Field by field: to encode the whole as a dictionary takes twice the time.
        for name, value in vars(record).items():
            if value is not None:
                # A key was parsed, which bounds it. Any other text may be somebody's choice.
                is_text = isinstance(value, str) and name != "public_key"
                fields.append(f'"{name}": {_encode(value[:_LONGEST] if is_text else value)}')
        return (", ".join(fields) + "}\n").encode()

    def _summed_record(self, found: Sum, now: float) -> Unwritten:
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


def _dropped_record(lost: Dropped) -> Unwritten:
    count = sum(lost.labels.values())
    return Unwritten(
        *_DROPPED,
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
    """Cached: most records have the same second as the one before."""
    return datetime.fromtimestamp(second, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
