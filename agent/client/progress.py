"""Says on a terminal what is waited for, once that takes long; nothing ever goes to stdout.

An interval timer (setitimer(2)) and no thread: what is waited for is a system call, which Python
takes up again after a signal (PEP 475).
"""

from __future__ import annotations

import sys

from agent.client import limits
from agent.commands.trouble import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# `signal` would bring `enum`, which takes long.
signal: Any = __import__("_signal")


class Progress:
    """What this process is doing; with a terminal at stderr it is told when it takes long."""

    def __init__(self, debug: bool = False) -> None:
        self._debug = debug
        self._doing = ""
        self._terminal = sys.stderr is not None and sys.stderr.isatty()

    def now(self, doing: str) -> None:
        """Another step begins."""
        if self._debug:
            self.tell(doing)
        self._doing = doing
        if self._terminal and not self._debug:
            signal.signal(signal.SIGALRM, self._late)
            signal.setitimer(signal.ITIMER_REAL, limits.PROGRESS_SECONDS)

    def done(self) -> None:
        """There is nothing more to wait for."""
        if self._terminal and not self._debug:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def tell(self, words: str) -> None:
        """Say it now, whatever it is."""
        sys.stderr.write(f"sixtykey: {plain(words)}\n")
        sys.stderr.flush()

    def note(self, words: str) -> None:
        """Say it with --debug only."""
        if self._debug:
            self.tell(words)

    def _late(self, _: int, __: Any) -> None:
        self.tell(f"{self._doing} ...")
