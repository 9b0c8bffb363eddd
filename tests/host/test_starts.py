"""Failing starts wait longer and longer; a daemon that has served starts at once."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import pytest

from agent.config.limits import LIMITS
from agent.host import starts


class Unit:
    """A service's starts on a manual clock; each start takes a second to fail."""

    def __init__(self, folder: Path) -> None:
        self.environ = {"RUNTIME_DIRECTORY": str(folder)}
        self.now = 5000.0

    def fail(self) -> float:
        """Start, wait and fail; the seconds that it had to wait."""
        _, seconds = starts.begin(self.environ, self.now)
        self.now += seconds + 1.0
        return seconds


@pytest.fixture
def unit(tmp_path: Path) -> Unit:
    """A unit that has not been started yet."""
    return Unit(tmp_path)


def test_the_first_start_and_one_after_success_wait_for_nothing(unit: Unit) -> None:
    """The first start, and each start after a successful one, waits for nothing."""
    for _ in range(100):
        assert unit.fail() == 0.0
        starts.succeed(unit.environ)


def test_starts_that_fail_wait_longer_and_longer(unit: Unit) -> None:
    """Each failed start doubles the wait up to a limit, and a successful one resets it."""
    waits: list[float] = []
    while len(waits) < 12:
        _, seconds = starts.begin(unit.environ, unit.now)
        unit.now += seconds
        waits.append(seconds)
    most = LIMITS.start_pause_most_seconds
    doubled = [LIMITS.start_pause_seconds * 2**n for n in range(11)]
    assert waits == [0.0, *(pytest.approx(min(most, pause)) for pause in doubled)]
    starts.succeed(unit.environ)
    assert unit.fail() == 0.0


def test_time_already_waited_counts(unit: Unit) -> None:
    """Time that has passed since a failed start is deducted from the wait."""
    for _ in range(20):
        unit.fail()
    unit.now += 60.0
    assert unit.fail() == 0.0


@pytest.mark.parametrize(
    "text", ["", "x", "3", "-7 1", "9" * 99, "9999999999 1e400", "5 nan", "\xff 1", "2 1 3"]
)
def test_a_damaged_note_keeps_nobody_waiting_for_long(unit: Unit, text: str) -> None:
    """A damaged note of starts raises no error, and the wait stays within its limit."""
    Path(unit.environ["RUNTIME_DIRECTORY"], "starts").write_text(text, "latin-1")
    _, seconds = starts.begin(unit.environ, unit.now)
    assert 0.0 <= seconds <= LIMITS.start_pause_most_seconds


@pytest.mark.parametrize("absent", [None, "removed"])
def test_without_a_place_nothing_is_counted(tmp_path: Path, absent: Optional[str]) -> None:
    """Without a runtime directory, no start is counted and none waits."""
    environ = {} if absent is None else {"RUNTIME_DIRECTORY": str(tmp_path / absent)}
    for _ in range(3):
        assert starts.begin(environ, 5000.0) == (0, 0.0)
    starts.succeed(environ)
