"""Tables, ages and bars for people; and a screen that is redrawn."""

from __future__ import annotations

import sys

from agent.client.trouble import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

BAR = 20


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with aligned columns; the first row is the heading."""
    rows = [[plain(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*rows)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows
    ]


def who(principal: str) -> str:
    """The pusher: an access key's id, or the name of a local user."""
    if not principal.startswith("uid:"):
        return principal
    import pwd

    try:
        return f"{pwd.getpwuid(int(principal[4:])).pw_name} ({principal})"
    except (KeyError, ValueError):
        return principal


def duration(seconds: float) -> str:
    """Such as `8 s`, `3 min`, `2 h 5 min`, `4 days`."""
    seconds = max(0, round(seconds))
    if seconds < 120:
        return f"{seconds} s"
    minutes = seconds // 60
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} days"


def bar(left: float, whole: float) -> str:
    """A bar of the remaining share, and the seconds."""
    full = 0 if whole <= 0 else min(BAR, max(0, round(BAR * left / whole)))
    cells = "█░" if "utf" in (sys.stdout.encoding or "").lower() else "#."
    return f"{cells[0] * full}{cells[1] * (BAR - full)} {max(0.0, left):4.0f} s"


class Screen:
    """Lines on a terminal that are redrawn in place; at the end the terminal is restored."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._drawn = 0

    def __enter__(self) -> Screen:
        """Hide the cursor; treat SIGTERM like ^C."""
        import signal

        signal.signal(signal.SIGTERM, signal.default_int_handler)
        self._write("\033[?25l")
        return self

    def __exit__(self, *exception: object) -> None:
        """Keep the last drawing, and show the cursor."""
        self._write("\033[?25h")

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines, and replace the previous ones."""
        import os

        size = os.get_terminal_size(self._stream.fileno())
        room = max(1, (size.lines or 24) - 1)
        if len(lines) > room:
            lines = [*lines[: room - 1], f"... and {len(lines) - room + 1} more"]
        # A wrapped line would take two rows, and the next drawing would be one too low.
        width = (size.columns or 80) - 1
        back = f"\033[{self._drawn}F" if self._drawn else "\r"
        self._write(back + "".join(f"{line[:width]}\033[K\n" for line in lines) + "\033[J")
        self._drawn = len(lines)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
