"""`python -m tests.e2e.screenshots FILE`: run the demo in a terminal, and draw its screen as SVG.

The terminal is emulated by pyte, so the picture shows what a person would see at the end.
"""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from itertools import groupby
from pathlib import Path

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

COLUMNS, ROWS = 110, 75
LIFETIME = "10"
# No font is fetched: every viewer has a monospaced one.
FORMAT = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" \
font-family="ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace">
<style>.{unique_id}-matrix {{ font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; fill: #c5c8c6; }}
{styles}</style>
<defs>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})">{backgrounds}<g class="{unique_id}-matrix">
{matrix}
</g></g>
</svg>
"""


def run_in_terminal(command: list[str]) -> pyte.Screen:
    """Run a command in a terminal of COLUMNS and ROWS; return its screen at the end.

    Raises subprocess.CalledProcessError: the command failed.
    """
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # how Linux says that nobody writes to the terminal any more
            break
        stream.feed(data)
    os.close(ours)
    if process.wait() != 0:
        raise subprocess.CalledProcessError(process.returncode, command, "\n".join(screen.display))
    return screen


def draw(screen: pyte.Screen, title: str) -> str:
    """Draw the screen as SVG, without the empty lines at its end."""
    last = max(row for row in range(ROWS) if screen.display[row].strip())
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        console = Console(width=COLUMNS, record=True, file=nowhere, force_terminal=True)
        for row in range(last + 1):
            console.print(_line([screen.buffer[row][column] for column in range(COLUMNS)]))
    svg: str = console.export_svg(title=title, code_format=FORMAT, unique_id="demo")
    return svg


def _line(cells: list[pyte.screens.Char]) -> Text:
    """One line of the screen, without trailing blanks."""
    line = Text()
    for bold, run in groupby(cells, key=lambda cell: cell.bold):
        line.append("".join(cell.data for cell in run), Style(bold=bold))
    line.rstrip()
    return line


def main(arguments: list[str]) -> int:
    """Run and draw; return the exit status."""
    screen = run_in_terminal([sys.executable, "-m", "tests.e2e.demo", "--lifetime", LIFETIME])
    Path(arguments[0]).write_text(draw(screen, f"make demo LIFETIME={LIFETIME}"), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
