"""Lines on a file descriptor, written without ever waiting for it."""

from __future__ import annotations

import logging
import os
import select
from collections import deque

from agent.config.settings import LIMITS


class LineWriter:
    """Writes lines to a file descriptor and never waits for it.

    A full pipe or a journald that stands still must not stop a lookup: lines wait here, a bounded
    number of them, and then are dropped and counted.
    """

    def __init__(self, descriptor: int, limit: int = LIMITS.audit_backlog) -> None:
        self._descriptor = descriptor
        self._limit = limit
        self._lines: deque[bytes] = deque()
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._dropped = 0

    @property
    def waiting(self) -> bool:
        """Whether there are lines that could not be written yet."""
        return bool(self._lines)

    def take_dropped(self) -> int:
        """How many lines were dropped since this was last asked, once there is room again."""
        if self._lines:
            return 0
        dropped, self._dropped = self._dropped, 0
        return dropped

    def write(self, line: bytes) -> None:
        """Write a line, now or when it can be taken."""
        if len(self._lines) >= self._limit:
            self._dropped += 1
        else:
            self._lines.append(line)
        self.flush()

    def flush(self) -> None:
        """Write what waits, as far as that goes without waiting."""
        while self._lines and self._writable():
            # At most what a pipe takes whole (PIPE_BUF, pipe(7)): poll promised room for that much.
            piece = self._lines[0][: select.PIPE_BUF]
            try:
                written = os.write(self._descriptor, piece)
            except BlockingIOError:
                return
            except OSError:
                # Nobody reads any more (closed pipe, closed descriptor).
                self._dropped += len(self._lines)
                self._lines.clear()
                return
            self._lines[0] = self._lines[0][written:]
            if not self._lines[0]:
                self._lines.popleft()

    def _writable(self) -> bool:
        return any(events & select.POLLOUT for _, events in self._poll.poll(0))


class LineHandler(logging.Handler):
    """Diagnostics, through a LineWriter: one line each."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("sixtykeyd: %(message)s"))
        self._writer = LineWriter(descriptor)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or leave it for the next one to take along."""
        self._writer.write(self.format(record).encode(errors="backslashreplace") + b"\n")
