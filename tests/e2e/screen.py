"""The demo's output: numbered steps, the observations below each, and a countdown."""

from __future__ import annotations

import time
from typing import Callable, TextIO

from tests.parts.host import MissingToolError

WIDTH = 40
"""Cells of the bar."""


class BrokenPromiseError(Exception):
    """An observation differs from what was promised; the message says what was promised."""


def promise(kept: bool, words: str) -> None:
    """Raise BrokenPromiseError unless the promise was kept."""
    if not kept:
        raise BrokenPromiseError(words)


def boottime() -> float:
    """Return the seconds since boot, suspends included: the clock of key lifetimes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Screen:
    """Writes colours and a moving bar to a terminal, and plain lines to anything else."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._steps = 0
        self.is_terminal = stream.isatty()

    def _write(self, text: str, colour: str = "") -> None:
        shown = f"\033[{colour}m{text}\033[0m" if colour and self.is_terminal else text
        print(shown, file=self._stream, flush=True)

    def step(self, words: str) -> None:
        """Start a step."""
        self._steps += 1
        self._write(f"\n{self._steps}. {words}", "1")

    def saw(self, words: str) -> None:
        """Show an observation of this step."""
        for line in words.splitlines():
            self._write(f"   {line}", "2")

    def end(self, words: str) -> None:
        """Show the overall result."""
        self._write(f"\n{words}", "1")

    def show(self, steps: Callable[[], str]) -> int:
        """Run the steps, and show what they return or why they failed; return the exit code."""
        try:
            words = steps()
        except BrokenPromiseError as error:
            self.end(f"NOT AS PROMISED: {error}")
            return 1
        except (MissingToolError, RuntimeError) as error:
            self.end(f"CANNOT RUN: {error}")
            return 1
        self.end(words)
        return 0

    def countdown(self, seconds: int) -> Countdown:
        """Start a countdown now; `run` shows it."""
        return Countdown(self, self._stream, seconds)


class Countdown:
    """A countdown that starts when it is made."""

    def __init__(self, screen: Screen, stream: TextIO, seconds: int) -> None:
        self._screen = screen
        self._stream = stream
        self.seconds = seconds
        self._end = boottime() + seconds

    def run(self, until: float) -> None:
        """Show the countdown until this many seconds are left: a bar, or occasional lines."""
        every = 0.1 if self._screen.is_terminal else max(1.0, self.seconds / 6)
        while (left := self._end - boottime()) > until:
            self._show(left)
            time.sleep(min(left - until, every))
        self._show(max(left, 0.0))
        if self._screen.is_terminal:
            print(file=self._stream)

    def _show(self, left: float) -> None:
        full = round(WIDTH * left / self.seconds)
        line = f"   {'█' * full}{'░' * (WIDTH - full)} {left:4.1f} s left"
        if self._screen.is_terminal:
            print(f"\r{line}", end="", file=self._stream, flush=True)
        else:
            print(line, file=self._stream, flush=True)
