"""Our lines in sshd_config itself, and others' lines that we turned into comments.

All of them are marked, so that they can be undone even if the file was edited since.
"""

from __future__ import annotations

from collections.abc import Collection

COPY = ".before-sixtykey"
_BEGIN = "# The next lines are sixtykey's: sshd-setup wrote them, and removes them.\n"
_END = "# (sixtykey's end here.)\n"
# The prefix of an existing line that is a comment for now.
_OUT = "#sixtykey# "


def with_ours(text: str, ours: str, numbers: Collection[int]) -> str:
    """The text with `ours` (which may be empty) at its top, and these lines as comments.

    At the top, since sshd uses a keyword's first value (sshd_config(5)). Replaces our older lines.
    """
    lines = [
        _OUT + line if number in numbers else line
        for number, line in enumerate(text.split("\n"), 1)
    ]
    return (f"{_BEGIN}{ours}{_END}" if ours else "") + _without_block("\n".join(lines))


def without_ours(text: str) -> str:
    """The text without our changes. Later changes by others stay."""
    lines = _without_block(text).split("\n")
    return "\n".join(line.removeprefix(_OUT) for line in lines)


def _without_block(text: str) -> str:
    while _BEGIN in text and _END in text.partition(_BEGIN)[2]:
        before, _, rest = text.partition(_BEGIN)
        text = before + rest.partition(_END)[2]
    return text
