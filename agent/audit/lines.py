"""Writes lines to a file descriptor without ever blocking."""

from __future__ import annotations

import errno
import logging
import os
import select
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Optional

from agent.audit.diagnostics import DiagnosticsPace
from agent.config.limits import LIMITS

Label = tuple[str, str]
# A line's number, its bytes, and its label.
_Line = tuple[int, bytes, Label]

_UNNAMED: Label = ("", "")
# The reader is gone for good. Other errors (a full disk) may be temporary.
_GONE = frozenset({errno.EPIPE, errno.EBADF, errno.ECONNRESET})


@dataclass
class Dropped:
    """Dropped lines: a count for each label, and the lowest and highest line number."""

    first: int
    last: int
    labels: Counter[Label] = field(default_factory=Counter)

    def add(self, other: Dropped) -> None:
        """Add these counts."""
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.labels.update(other.labels)


class _Queue:
    """A queue of waiting lines, and its size in bytes."""

    def __init__(self) -> None:
        self.lines: deque[_Line] = deque()
        self.size = 0

    def append(self, line: _Line) -> None:
        self.lines.append(line)
        self.size += len(line[1])

    def take_oldest(self) -> _Line:
        line = self.lines.popleft()
        self.size -= len(line[1])
        return line

    def take_newest(self) -> _Line:
        line = self.lines.pop()
        self.size -= len(line[1])
        return line


class LineWriter:
    """Writes lines to a file descriptor and never waits for it.

    A full pipe or a journald that hangs must not stop a lookup, so lines wait here, up to a limit.
    All lines share `room` (bytes). Essential lines may also use `reserve`, and displace the others
    from `room`. The newest line is dropped first: a flood cannot erase earlier records.
    """

    def __init__(
        self,
        descriptor: int,
        room: int = LIMITS.audit_room_bytes,
        reserve: int = LIMITS.audit_reserve_bytes,
    ) -> None:
        self._descriptor = descriptor
        self._room = room
        self._capacity = room + reserve
        self._essential = _Queue()
        self._others = _Queue()
        # The line that is being written, and its unwritten rest.
        self._current: _Line = (0, b"", _UNNAMED)
        self._rest = b""
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._dropped: Optional[Dropped] = None

    @property
    def waiting(self) -> bool:
        """Whether lines are waiting."""
        return bool(self._rest or self._essential.lines or self._others.lines)

    def take_dropped(self) -> Optional[Dropped]:
        """What was dropped since the last call; None when nothing was."""
        dropped, self._dropped = self._dropped, None
        return dropped

    def write(
        self, line: bytes, number: int = 0, label: Label = _UNNAMED, essential: bool = True
    ) -> None:
        """Write a line, now or as soon as the descriptor takes it.

        Args:
            number: its place in the order of writing; it never decreases from call to call.
            label: what a dropped line is counted as.
        """
        if self.waiting:
            queue = self._essential if essential else self._others
            queue.append((number, line, label))
            self._make_room()
        else:
            self._current, self._rest = (number, line, label), line
        self.flush()

    def flush(self) -> None:
        """Write waiting lines until the descriptor would block."""
        # On any event: after an error, write() raises it.
        while (self._rest or self._start_next()) and self._poll.poll(0):
            try:
                # PIPE_BUF (pipe(7)): poll reports a pipe as writable when it takes this much.
                written = os.write(self._descriptor, self._rest[: select.PIPE_BUF])
            except OSError as error:
                if error.errno in _GONE:
                    self._drop_all()
                return
            self._rest = self._rest[written:]

    def drain(self, seconds: float) -> None:
        """Write waiting lines, and block for at most this many seconds."""
        end = time.monotonic() + seconds
        self.flush()
        while self.waiting and time.monotonic() < end:
            time.sleep(LIMITS.drain_poll_seconds)
            self.flush()

    def drop_others(self) -> None:
        """Drop waiting lines that are not essential."""
        while self._others.lines:
            self._drop(self._others.take_newest())

    def _start_next(self) -> bool:
        """Start with the line that has the lowest number; False when none is waiting."""
        essential, others = self._essential.lines, self._others.lines
        if essential and not (others and others[0][0] < essential[0][0]):
            self._current = self._essential.take_oldest()
        elif others:
            self._current = self._others.take_oldest()
        else:
            return False
        self._rest = self._current[1]
        return True

    def _make_room(self) -> None:
        while self._others.size > self._room:
            self._drop(self._others.take_newest())
        while self._others.size + self._essential.size > self._capacity:
            queue = self._others if self._others.lines else self._essential
            self._drop(queue.take_newest())

    def _drop_all(self) -> None:
        self._drop(self._current)
        self._rest = b""
        while self._start_next():
            self._drop(self._current)
            self._rest = b""

    def _drop(self, line: _Line) -> None:
        dropped = Dropped(line[0], line[0], Counter({line[2]: 1}))
        if self._dropped is None:
            self._dropped = dropped
        else:
            self._dropped.add(dropped)


class LineHandler(logging.Handler):
    """Writes each diagnostic as one line that begins with the program's name; it never blocks."""

    def __init__(self, descriptor: int, program: str = "sixtykeyd") -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(f"{program}: %(message)s"))
        self._writer = LineWriter(descriptor, LIMITS.diagnostics_room_bytes, 0)
        self._pace = DiagnosticsPace()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a diagnostic, now or with the next one, unless there are too many like it."""
        left_out = self._pace.admit(str(record.msg), time.monotonic())
        if left_out is None:
            return
        line = self.format(record)[: LIMITS.diagnostics_characters]
        if left_out:
            line += f" (and {left_out} like it before, which were left out)"
        self._writer.write(line.encode(errors="backslashreplace") + b"\n")
