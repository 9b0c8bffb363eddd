"""agent/audit/record.py: diagnostics on stderr, which waits for nobody either."""

from __future__ import annotations

import logging
import os
import select

from agent.audit.lines import LineHandler


def said(words: str) -> logging.LogRecord:
    """A diagnostic."""
    return logging.LogRecord("sixtykeyd", logging.WARNING, __file__, 1, words, None, None)


def test_diagnostics_do_not_wait_for_a_reader() -> None:
    """A full pipe takes no line and stops nobody; what waited comes once there is room."""
    reader, writer = os.pipe()
    try:
        os.set_blocking(writer, False)
        while select.select([], [writer], [], 0)[1]:
            os.write(writer, b"x" * 4096)
        # Blocking again, as stderr is: a write that did not look first would stand still here.
        os.set_blocking(writer, True)
        handler = LineHandler(writer)
        handler.emit(said("while nobody reads"))
        os.set_blocking(reader, False)
        drained = 0
        while select.select([reader], [], [], 0)[0]:
            drained += len(os.read(reader, 65536))
        assert drained >= 4096
        handler.emit(said("afterwards"))
        assert os.read(reader, 4096) == (b"sixtykeyd: while nobody reads\nsixtykeyd: afterwards\n")
    finally:
        os.close(reader)
        os.close(writer)
