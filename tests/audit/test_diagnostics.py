"""A repeated cause of diagnostics does not fill the log."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

from agent.audit.diagnostics import DiagnosticsPace
from agent.audit.lines import LineHandler
from agent.config.limits import LIMITS

BURST = int(LIMITS.diagnostics_burst)


@pytest.fixture
def log() -> Iterator[int]:
    """A pipe in place of stderr, with a handler that writes to it; gives the reading end."""
    reader, writer = os.pipe()
    logger = logging.getLogger("sixtykeyd")
    handler = LineHandler(writer)
    logger.addHandler(handler)
    yield reader
    logger.removeHandler(handler)
    os.close(reader)
    os.close(writer)


def test_a_flood_of_one_kind_is_a_burst_of_lines(log: int) -> None:
    """Of many diagnostics of one kind a burst is written, and another kind has its own burst."""
    logger = logging.getLogger("sixtykeyd")
    for number in range(3 * BURST):
        logger.warning("source %s: dropped", number)
    logger.warning("something else")
    lines = os.read(log, 1 << 16).decode().splitlines()
    assert lines[-1] == "sixtykeyd: something else"
    assert lines[:2] == ["sixtykeyd: source 0: dropped", "sixtykeyd: source 1: dropped"]
    assert BURST <= len(lines) - 1 < 2 * BURST


def test_a_line_is_not_longer_than_a_traceback(log: int) -> None:
    """A diagnostic line is cut at a maximum length."""
    logging.getLogger("sixtykeyd").warning("away: %s", "x" * 65_000)
    line = os.read(log, 1 << 17)
    assert (len(line), line[-1:]) == (LIMITS.diagnostics_characters + 1, b"\n")


def test_the_next_line_counts_those_left_out() -> None:
    """The next diagnostic of a kind states how many were left out before it."""
    pace = DiagnosticsPace()
    assert [pace.admit("kind", 5.0) for _ in range(BURST + 7)] == [0] * BURST + [None] * 7
    later = 5.0 + 1.0 / LIMITS.diagnostics_per_second
    assert [pace.admit("kind", later), pace.admit("kind", later)] == [7, None]
