"""The audit record: whole lines of JSON, and a writer that never waits."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.audit.history import History
from agent.audit.lines import LineWriter
from agent.audit.record import Audit, Record
from tests.parts.clock import ManualClock


@pytest.fixture(name="pipe")
def _pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    yield reader, writer
    for descriptor in (reader, writer):
        try:
            os.close(descriptor)
        except OSError:
            pass


def drain(reader: int) -> bytes:
    """All that is in the pipe now."""
    data = b""
    try:
        while chunk := os.read(reader, 65536):
            data += chunk
    except BlockingIOError:
        pass
    return data


def written(record: Record) -> list[bytes]:
    """What an audit writes for a record."""
    lines: list[bytes] = []
    Audit(lines.append, ManualClock(), History()).record(record)
    return lines


def test_what_is_unknown_is_not_written() -> None:
    """A record has its time, in UTC and milliseconds, and the fields that are known."""
    (line,) = written(Record("push", "allowed", os_user="alice"))
    assert json.loads(line) == {
        "time": "2027-01-15T08:00:00.000Z",
        "event": "push",
        "outcome": "allowed",
        "os_user": "alice",
    }


@given(st.text(max_size=3000))
def test_whatever_a_caller_chose_stays_within_its_line(text: str) -> None:
    """No newline, escape or byte beyond ASCII gets out, and no value fills the log."""
    (line,) = written(Record("push", "InvalidArgsException", os_user=text, user_agent=text))
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert all(0x20 <= byte < 0x7F for byte in line[:-1])
    assert json.loads(line)["os_user"] == text[:1024]


def test_a_reader_gets_the_lines(pipe: tuple[int, int]) -> None:
    """In order, and whole, also those longer than the pipe takes at once."""
    reader, writer = pipe
    lines = LineWriter(writer)
    sent = [
        b"%d" % number + b"x" * size + b"\n" for number, size in enumerate((1, 5000, 70_000, 9))
    ]
    got = b""
    for line in sent:
        lines.write(line)
        got += drain(reader)
    while not got.endswith(sent[-1]):
        lines.flush()
        got += drain(reader)
    assert got == b"".join(sent)
    assert lines.take_dropped() == 0


def test_a_full_pipe_is_waited_for_in_memory_and_not_in_a_call(pipe: tuple[int, int]) -> None:
    """So many lines are held; those beyond are dropped and counted, and the order stays."""
    reader, writer = pipe
    lines = LineWriter(writer, limit=10)
    for number in range(200):
        lines.write(b"%05d" % number + b"x" * 1000 + b"\n")
    assert lines.take_dropped() == 0
    got = drain(reader)
    lines.flush()
    got += drain(reader)
    dropped = lines.take_dropped()
    numbers = [int(line[:5]) for line in got.splitlines()]
    assert numbers == list(range(200 - dropped))
    assert dropped > 100
    assert lines.take_dropped() == 0
    lines.write(b"later\n")
    assert drain(reader) == b"later\n"


def test_a_pipe_without_a_reader_is_no_error(pipe: tuple[int, int]) -> None:
    """Whoever read the log is gone: the daemon goes on, and knows how much was lost."""
    reader, writer = pipe
    lines = LineWriter(writer)
    os.close(reader)
    for _ in range(3):
        lines.write(b"line\n")
    assert lines.take_dropped() == 3


def test_a_closed_descriptor_is_no_error(pipe: tuple[int, int]) -> None:
    """Nor is a descriptor that is not there any more."""
    lines = LineWriter(pipe[1])
    os.close(pipe[1])
    lines.write(b"line\n")
    lines.flush()


def test_what_was_dropped_is_a_record_of_its_own() -> None:
    """A gap in the log can be seen in the log."""
    lines: list[bytes] = []
    audit = Audit(lines.append, ManualClock(), History())
    audit.dropped(0)
    assert lines == []
    audit.dropped(7)
    assert "7 records" in json.loads(lines[0])["reason"]
    assert audit.counts["audit", "dropped"] == 1
