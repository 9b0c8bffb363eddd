"""Our lines in sshd_config itself, and lines of others that are comments meanwhile.

All of it is marked, so that it can be taken back whatever else somebody has written there since.
"""

from __future__ import annotations

from collections.abc import Collection

COPY = ".before-sixtykey"
_BEGIN = "# The next lines are sixtykey's: sshd-setup wrote them, and removes them.\n"
_END = "# (sixtykey's end here.)\n"
# In front of a line that was there, and will be again.
_OUT = "#sixtykey# "


def with_ours(text: str, ours: str, numbers: Collection[int]) -> str:
    """The text with `ours` at its head, or nothing, and the lines of these numbers as comments.

    At the head, for sshd takes the first value of a keyword (sshd_config(5)). Ours of before go.
    """
    lines = [
        _OUT + line if number in numbers else line
        for number, line in enumerate(text.split("\n"), 1)
    ]
    return (f"{_BEGIN}{ours}{_END}" if ours else "") + _without_block("\n".join(lines))


def without_ours(text: str) -> str:
    """The text as it was before, but for what others have changed since."""
    lines = _without_block(text).split("\n")
    return "\n".join(line.removeprefix(_OUT) for line in lines)


def _without_block(text: str) -> str:
    while _BEGIN in text and _END in text.partition(_BEGIN)[2]:
        before, _, rest = text.partition(_BEGIN)
        text = before + rest.partition(_END)[2]
    return text
