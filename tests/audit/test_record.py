"""agent/audit/record.py: records are whole, numbered lines of JSON, and gaps are recorded."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import fields
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent.audit.history import History
from agent.audit.lines import Dropped
from agent.audit.record import Audit, Record
from agent.config.limits import LIMITS
from tests.parts.clock import ManualClock

REFUSED = Record("push", "AuthException", source="203.0.113.7")
STRANGER = ("stranger", "203.0.113.7")


class Log:
    """An audit, its clock, and what it writes."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.lines: list[bytes] = []
        self.essential: list[bool] = []
        self.audit = Audit(self._write, self.clock, History())

    def _write(self, line: bytes, _: int, __: tuple[str, str], essential: bool) -> None:
        self.lines.append(line)
        self.essential.append(essential)

    def sample(self, record: Record = REFUSED, group: tuple[str, str] = STRANGER) -> None:
        """Sample a record now."""
        self.audit.sample(record, group, self.clock.boottime())

    def records(self) -> list[dict[str, Any]]:
        """The records that were written."""
        return [json.loads(line) for line in self.lines]


def test_unknown_fields_are_not_written() -> None:
    """A record has its time in UTC, its number, its run's id and only the known fields."""
    log = Log()
    log.audit.record(Record("push", "allowed", os_user="alice"))
    (record,) = log.records()
    assert len(record.pop("run")) == 8
    assert record == {
        "time": "2027-01-15T08:00:00.000Z",
        "seq": 1,
        "event": "push",
        "outcome": "allowed",
        "os_user": "alice",
    }


@given(st.text(max_size=3000))
def test_whatever_a_caller_chose_stays_within_its_line(text: str) -> None:
    """Text in any field stays on one line, in printable ASCII, and is cut at a limit.

    Only the key that is pushed is whole.
    """
    log = Log()
    texts: dict[str, Any] = {each.name: text for each in fields(Record)}
    log.audit.record(Record(**texts))
    (line,) = log.lines
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert all(0x20 <= byte < 0x7F for byte in line[:-1])
    told = json.loads(line)
    assert told.pop("public_key") == text
    assert {name: told[name] for name in texts if name in told} == {
        name: text[:1024] for name in texts if name != "public_key"
    }


def test_records_are_numbered_without_a_gap_within_a_run() -> None:
    """Records of a run are numbered from 1 without a gap, and each run has its own id.

    A record that is summed up takes no number.
    """
    log, after = Log(), Log()
    for _ in range(LIMITS.sampled_burst + 5):
        log.sample()
    log.audit.record(Record("push", "allowed"))
    after.audit.record(Record("start", "done"))
    records = log.records()
    assert [record["seq"] for record in records] == list(range(1, LIMITS.sampled_burst + 2))
    assert len({record["run"] for record in records}) == 1
    assert after.records()[0]["seq"] == 1
    assert after.records()[0]["run"] != records[0]["run"]


def test_only_sampled_records_give_way() -> None:
    """A sampled refusal is not essential; other records and granted lookups are."""
    log = Log()
    log.audit.record(Record("push", "allowed"))
    log.sample()
    log.sample(Record("lookup", "given"), ("given", "a request"))
    log.sample(Record("lookup", "none"), ("unmatched", "alice"))
    assert log.essential == [True, False, True, False]


def test_a_flood_is_summed_up_with_sources_outcomes_and_times() -> None:
    """Of a flood the first records are written, and one record sums up the others.

    It states their number, decisions, groups, and first and last times.
    """
    log = Log()
    for _ in range(LIMITS.sampled_burst + 7):
        log.sample()
    log.clock.advance(0.5)
    log.sample(Record("push", "InvalidClientTokenId"))
    assert len(log.lines) == LIMITS.sampled_burst
    log.audit.report_summed()
    assert len(log.lines) == LIMITS.sampled_burst
    log.clock.advance(LIMITS.summing_seconds - 0.5)
    log.audit.report_summed()
    last = log.records()[-1]
    del last["run"]
    assert last == {
        "time": "2027-01-15T08:00:10.000Z",
        "seq": LIMITS.sampled_burst + 1,
        "event": "audit",
        "outcome": "summed",
        "reason": "8 decisions were not written one by one",
        "count": 8,
        "decisions": {"push/AuthException": 7, "push/InvalidClientTokenId": 1},
        "kind": "stranger",
        "groups": {"203.0.113.7": 8},
        "others": 0,
        "first": "2027-01-15T08:00:00.000Z",
        "last": "2027-01-15T08:00:00.500Z",
    }
    assert log.essential[-1]
    log.audit.report_summed(0.0)
    assert len(log.lines) == LIMITS.sampled_burst + 1


def test_summed_decisions_are_counted_too() -> None:
    """A record that is summed up is counted in the metrics, and counted as summed."""
    log = Log()
    for _ in range(LIMITS.sampled_burst + 7):
        log.sample()
    assert log.audit.counts["push", "AuthException"] == LIMITS.sampled_burst + 7
    assert log.audit.counts["summed", "push"] == 7


def test_dropped_records_are_reported_in_a_record() -> None:
    """A gap is recorded with the missing numbers and counts by decision, and is counted."""
    log = Log()
    log.audit.report_dropped(None)
    assert log.lines == []
    labels = Counter({("push", "AuthException"): 6, ("lookup", "none"): 1})
    log.audit.report_dropped(Dropped(40, 52, labels))
    (record,) = log.records()
    assert record["reason"] == "7 of the records 40 to 52 were not written"
    assert (record["first_seq"], record["last_seq"], record["count"]) == (40, 52, 7)
    assert record["decisions"] == {"push/AuthException": 6, "lookup/none": 1}
    assert log.audit.counts["dropped", "push"] == 6
    assert log.audit.counts["dropped", "lookup"] == 1


def test_continued_drops_are_reported_once_per_interval() -> None:
    """Gaps in a row are recorded once per interval, with every dropped record counted."""
    log = Log()
    for number in (1, 3, 5):
        log.audit.report_dropped(Dropped(number, number, Counter({("push", "x"): 1})))
    assert len(log.lines) == 1
    log.clock.advance(LIMITS.summing_seconds)
    log.audit.report_dropped(None)
    last = log.records()[-1]
    assert (last["first_seq"], last["last_seq"], last["count"]) == (3, 5, 2)


def test_a_dropped_report_is_included_in_the_next_one() -> None:
    """When the record of a gap is itself dropped, the next one covers both gaps."""
    log = Log()
    log.audit.report_dropped(Dropped(1, 2, Counter({("push", "allowed"): 2})))
    log.clock.advance(LIMITS.summing_seconds)
    log.audit.report_dropped(Dropped(3, 3, Counter({("audit", "dropped"): 1})))
    last = log.records()[-1]
    assert (last["first_seq"], last["last_seq"], last["count"]) == (1, 3, 3)
