"""The observations, line by line, and the failures."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class StepError(AssertionError):
    """A step failed; the message says what was observed instead."""


def expect(condition: bool, seen: str) -> None:
    """Raise StepError with the observation unless the condition holds."""
    if not condition:
        raise StepError(seen[-3000:])


class Report:
    """Prints each step of one host with its observations, and counts."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.passed = 0
        self.failed: list[str] = []

    @contextmanager
    def step(self, what: str) -> Iterator[list[str]]:
        """Run one step; what is appended to the list is printed as observed.

        Raises:
            StepError, and any other error, after printing it.
        """
        observed: list[str] = []
        begin = time.monotonic()
        try:
            yield observed
        except BaseException as error:
            self.failed.append(what)
            self._line("FAILED", what, [*observed, f"{type(error).__name__}: {error}"], begin)
            raise
        self.passed += 1
        self._line("ok", what, observed, begin)

    def _line(self, outcome: str, what: str, observed: list[str], begin: float) -> None:
        seconds = time.monotonic() - begin
        lines = [f"{outcome:6} {what} ({seconds:.1f} s)"]
        lines += [f"         {line}" for text in observed for line in text.rstrip().splitlines()]
        # In one call, because other hosts print too.
        sys.stdout.write("".join(f"[{self.host}] {line}\n" for line in lines))
        sys.stdout.flush()
