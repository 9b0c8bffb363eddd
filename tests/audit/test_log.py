"""agent/audit/log.py: what is written regularly, and at the end of a process."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from agent.audit.history import History
from agent.audit.log import AuditLog
from agent.audit.record import Record
from agent.config.limits import LIMITS
from tests.parts.clock import ManualClock

STRANGER = ("stranger", "203.0.113.7")
STOP = Record("stop", "done")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe that blocks neither its reader nor its writer."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    yield ends
    for end in ends:
        os.close(end)


def records(reader: int) -> list[dict[str, Any]]:
    """The records in the pipe, which is then empty."""
    text = b""
    try:
        while True:
            text += os.read(reader, 65536)
    except BlockingIOError:
        return [json.loads(line) for line in text.splitlines()]


def test_sums_are_recorded_when_they_are_due_and_at_the_end(pipe: tuple[int, int]) -> None:
    """Tending records sums that are old enough; the end records the others, then the stop."""
    reader, writer = pipe
    clock = ManualClock()
    log = AuditLog(clock, History(), writer)

    def flood() -> None:
        for _ in range(2 * LIMITS.sampled_burst):
            log.audit.sample(Record("push", "AuthException"), STRANGER, clock.boottime())

    flood()
    records(reader)
    assert log.tend() == LIMITS.tend_seconds
    assert records(reader) == []
    clock.advance(LIMITS.summing_seconds)
    log.tend()
    assert [each["outcome"] for each in records(reader)] == ["summed"]
    flood()
    records(reader)
    log.end(STOP)
    assert [each["outcome"] for each in records(reader)] == ["summed", "done"]


def test_a_full_pipe_is_tried_again_soon_and_its_gap_is_recorded(pipe: tuple[int, int]) -> None:
    """While lines wait, tending asks to be called soon; dropped records are reported afterwards."""
    reader, writer = pipe
    log = AuditLog(ManualClock(), History(), writer)
    text = "x" * LIMITS.recorded_characters
    enough = (LIMITS.audit_room_bytes + LIMITS.audit_reserve_bytes) // len(text) + 200
    for _ in range(enough):
        log.audit.record(Record("push", "allowed", reason=text))
    assert log.tend() == LIMITS.audit_retry_seconds
    found: list[dict[str, Any]] = []
    while log.tend() == LIMITS.audit_retry_seconds:
        found += records(reader)
    asyncio.run(log.drain())
    log.end(STOP)
    found += records(reader)
    (gap,) = (each for each in found if each["outcome"] == "dropped")
    assert gap["count"] == enough - sum(each["event"] == "push" for each in found)
    assert found[-1]["event"] == "stop"
