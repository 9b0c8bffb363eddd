"""Shows on a terminal what the client waits for, once a wait takes long. Never uses stdout.

It uses an interval timer (setitimer(2)) and no thread: Python restarts the interrupted system call
after the signal (PEP 475).
"""

from __future__ import annotations

import sys

from agent.client import limits
from agent.client.trouble import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The module `signal` imports `enum`, which takes long.
signal: Any = __import__("_signal")


class Progress:
    """The present step. If stderr is a terminal, a long step is shown there."""

    def __init__(self, debug: bool = False) -> None:
        self._debugging = debug
        self._step = ""
        self._terminal = sys.stderr is not None and sys.stderr.isatty()

    def begin(self, step: str) -> None:
        """Begin another step."""
        if self._debugging:
            self.show(step)
        self._step = step
        if self._terminal and not self._debugging:
            signal.signal(signal.SIGALRM, self._show_step)
            signal.setitimer(signal.ITIMER_REAL, limits.PROGRESS_SECONDS)

    def stop(self) -> None:
        """End the last step: stop the timer."""
        if self._terminal and not self._debugging:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def show(self, words: str) -> None:
        """Print a line now."""
        sys.stderr.write(f"sixtykey: {plain(words)}\n")
        sys.stderr.flush()

    def debug(self, words: str) -> None:
        """Print a line, with --debug only."""
        if self._debugging:
            self.show(words)

    def _show_step(self, _: int, __: Any) -> None:
        self.show(f"{self._step} ...")
