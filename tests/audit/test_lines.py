"""agent/audit/lines.py: lines reach the reader, and the daemon never waits for the reader."""

from __future__ import annotations

import logging
import os
import select
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.audit.lines import Dropped, LineHandler, LineWriter

GIVEN, REFUSED = ("lookup", "given"), ("push", "AuthException")


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


def fill(reader: int, writer: int) -> int:
    """Fill a pipe completely, and return the number of bytes."""
    os.set_blocking(writer, False)
    filled = 0
    while select.select([], [writer], [], 0)[1]:
        filled += os.write(writer, b"x" * 4096)
    # Blocking again, as stdout is: an unchecked write would block.
    os.set_blocking(writer, True)
    assert reader != writer
    return filled


def numbered(number: int, size: int = 100) -> bytes:
    """A line that begins with its number."""
    return b"%05d" % number + b"x" * (size - 6) + b"\n"


def numbers(data: bytes) -> list[int]:
    """The number of each line."""
    return [int(line[:5]) for line in data.splitlines()]


def test_lines_arrive_whole_and_in_order(pipe: tuple[int, int]) -> None:
    """Lines arrive whole and in order, even those longer than the pipe's capacity."""
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
    assert not lines.waiting
    assert lines.take_dropped() is None


def test_lines_wait_in_memory_while_the_pipe_is_full(pipe: tuple[int, int]) -> None:
    """With a full pipe, lines wait up to a limit; others are counted as dropped by label."""
    reader, writer = pipe
    filled = fill(reader, writer)
    lines = LineWriter(writer, room=1000, reserve=0)
    for number in range(1, 16):
        lines.write(numbered(number), number, REFUSED, essential=False)
    # One is being written, and the ten that came next wait.
    assert lines.take_dropped() == Dropped(12, 15, {REFUSED: 4})  # type: ignore[arg-type]
    assert lines.take_dropped() is None
    got = drain(reader)
    lines.flush()
    assert numbers((got + drain(reader))[filled:]) == list(range(1, 12))
    lines.write(b"later\n")
    assert drain(reader) == b"later\n"


def test_other_lines_never_take_the_reserve(pipe: tuple[int, int]) -> None:
    """Waiting refusals leave room for later records that grant access."""
    reader, writer = pipe
    filled = fill(reader, writer)
    lines = LineWriter(writer, room=1000, reserve=1000)
    for number in range(1, 501):
        lines.write(numbered(number), number, REFUSED, essential=False)
    for number in range(501, 511):
        lines.write(numbered(number), number, GIVEN)
    dropped = lines.take_dropped()
    assert dropped is not None
    assert set(dropped.labels) == {REFUSED}
    got = drain(reader)
    lines.flush()
    assert numbers((got + drain(reader))[filled:]) == [*range(1, 12), *range(501, 511)]


def test_waiting_other_lines_give_way_to_essential_ones(pipe: tuple[int, int]) -> None:
    """Essential lines displace other waiting lines, the newest of those first."""
    reader, writer = pipe
    filled = fill(reader, writer)
    lines = LineWriter(writer, room=1000, reserve=1000)
    for number in range(1, 12):
        lines.write(numbered(number), number, REFUSED, essential=False)
    for number in range(12, 27):
        lines.write(numbered(number), number, GIVEN)
    assert lines.take_dropped() == Dropped(7, 11, {REFUSED: 5})  # type: ignore[arg-type]
    got = drain(reader)
    lines.flush()
    assert numbers((got + drain(reader))[filled:]) == [*range(1, 7), *range(12, 27)]


def test_without_any_room_the_newest_essential_line_is_dropped(pipe: tuple[int, int]) -> None:
    """When all room is taken, a new essential line is dropped and counted."""
    reader, writer = pipe
    filled = fill(reader, writer)
    lines = LineWriter(writer, room=1000, reserve=1000)
    for number in range(1, 31):
        lines.write(numbered(number), number, GIVEN)
    assert lines.take_dropped() == Dropped(22, 30, {GIVEN: 9})  # type: ignore[arg-type]
    got = drain(reader)
    lines.flush()
    assert numbers((got + drain(reader))[filled:]) == list(range(1, 22))


@given(st.lists(st.tuples(st.booleans(), st.integers(7, 400)), max_size=60))
def test_every_lost_line_is_counted(lines_sent: list[tuple[bool, int]]) -> None:
    """For any mix of lines, order is kept, memory is bounded, and each lost line is counted."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    try:
        filled = fill(reader, writer)
        lines = LineWriter(writer, room=2000, reserve=2000)
        for number, (essential, size) in enumerate(lines_sent, 1):
            label = GIVEN if essential else REFUSED
            lines.write(numbered(number, size), number, label, essential)
        dropped = lines.take_dropped() or Dropped(0, 0)
        got = drain(reader)
        while lines.waiting:
            lines.flush()
            got += drain(reader)
        written = numbers((got + drain(reader))[filled:])
        missing = sorted(set(range(1, len(lines_sent) + 1)) - set(written))
        assert written == sorted(written)
        assert len(missing) == sum(dropped.labels.values())
        assert missing[:1] + missing[-1:] in ([], [dropped.first, dropped.last])
        waited = [size for (_, size), number in zip(lines_sent, range(1, 99)) if number in written]
        assert sum(waited[1:]) <= 4000
        # An essential line is lost only when no earlier line of the others waits.
        lost = [n for n in missing if lines_sent[n - 1][0]]
        others = [n for n in written[1:] if not lines_sent[n - 1][0]]
        assert not lost or not [n for n in others if n < lost[0]]
    finally:
        os.close(reader)
        os.close(writer)


def test_a_pipe_without_a_reader_raises_nothing(pipe: tuple[int, int]) -> None:
    """When the log's reader is gone, lines are counted as dropped and no error is raised."""
    reader, writer = pipe
    fill(reader, writer)
    lines = LineWriter(writer)
    lines.write(b"waits\n", 1, GIVEN)
    os.close(reader)
    for number in (2, 3):
        lines.write(b"line\n", number, GIVEN)
    assert lines.take_dropped() == Dropped(1, 3, {GIVEN: 3})  # type: ignore[arg-type]
    assert not lines.waiting


def test_a_closed_descriptor_raises_nothing(pipe: tuple[int, int]) -> None:
    """With a closed descriptor, lines are counted as dropped and no error is raised."""
    lines = LineWriter(pipe[1])
    os.close(pipe[1])
    lines.write(b"line\n", 1, GIVEN)
    lines.flush()
    assert lines.take_dropped() == Dropped(1, 1, {GIVEN: 1})  # type: ignore[arg-type]


def test_lines_wait_while_the_disk_is_full() -> None:
    """With a full disk, lines wait as for a full pipe and none is dropped."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        lines = LineWriter(descriptor)
        lines.write(b"line\n", 1, GIVEN)
        assert lines.waiting
        assert lines.take_dropped() is None
        replacement = os.memfd_create("log")
        os.dup2(replacement, descriptor)
        lines.flush()
        assert os.pread(replacement, 100, 0) == b"line\n"
        os.close(replacement)
    finally:
        os.close(descriptor)


def test_draining_stops_at_its_deadline(pipe: tuple[int, int]) -> None:
    """Draining stops after its time limit and keeps the lines that wait."""
    reader, writer = pipe
    fill(reader, writer)
    lines = LineWriter(writer)
    lines.write(b"line\n", 1, GIVEN)
    lines.write(b"other\n", 2, REFUSED, essential=False)
    lines.drain(0.05)
    assert lines.waiting
    lines.drop_others()
    assert lines.take_dropped() == Dropped(2, 2, {REFUSED: 1})  # type: ignore[arg-type]
    drain(reader)
    lines.drain(0.05)
    assert drain(reader) == b"line\n"


def diagnostic(words: str) -> logging.LogRecord:
    """A diagnostic with this text."""
    return logging.LogRecord("sixtykeyd", logging.WARNING, __file__, 1, words, None, None)


def test_diagnostics_do_not_wait_for_a_reader(pipe: tuple[int, int]) -> None:
    """A diagnostic for a full pipe does not block, and is written once there is room."""
    reader, writer = pipe
    filled = fill(reader, writer)
    handler = LineHandler(writer)
    handler.emit(diagnostic("while nobody reads"))
    assert len(drain(reader)) == filled
    handler.emit(diagnostic("afterwards"))
    assert drain(reader) == b"sixtykeyd: while nobody reads\nsixtykeyd: afterwards\n"
