"""The command line: long options with or without a value, and words.

argparse alone takes as long to import as the bare interpreter to start, and 300 KiB of memory.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Optional

    # Each option: the name of its value ("" for a switch, "NAME..." if it may be repeated), and its
    # help.
    Table = Mapping[str, tuple[str, str]]


class Usage(Exception):
    """The command line is wrong; the message says how."""


class Options:
    """The options that were given."""

    def __init__(self) -> None:
        self._values: dict[str, list[str]] = {}

    def add(self, name: str, value: str) -> None:
        """Note that the option was given."""
        self._values.setdefault(name, []).append(value)

    def on(self, name: str) -> bool:
        """Whether it was given."""
        return name in self._values

    def value(self, name: str) -> Optional[str]:
        """Its value, or None."""
        return self._values[name][-1] if name in self._values else None

    def values(self, name: str) -> list[str]:
        """Its values, in order."""
        return self._values.get(name, [])

    def given(self) -> dict[str, Optional[str]]:
        """All that have a value, by name without the dashes."""
        return {name[2:]: values[-1] for name, values in self._values.items() if values[-1]}


def parse(
    arguments: Sequence[str], table: Table, *, words_end_options: bool = False
) -> tuple[Options, list[str]]:
    """Options and words. `--` ends the options, and `-` alone is a word. Raises Usage.

    Args:
        words_end_options: whatever follows the first word, or an option with one dash, is a word.
    """
    options, words = Options(), []
    left = list(arguments)
    while left:
        word = left.pop(0)
        if word == "--":
            words += left
            break
        if words_end_options and not word.startswith("--"):
            words += [word, *left]
            break
        if not word.startswith("-") or word == "-":
            words.append(word)
            continue
        name, equals, value = word.partition("=")
        if name not in table:
            raise Usage(f"unknown option {name}")
        metavar = table[name][0]
        if metavar and not equals:
            if not left or left[0].startswith("--"):
                raise Usage(f"{name} needs a value: {name} {metavar.rstrip('.')}")
            value = left.pop(0)
        elif equals and not metavar:
            raise Usage(f"{name} takes no value")
        if options.on(name) and not metavar.endswith("..."):
            raise Usage(f"{name} is given twice")
        options.add(name, value)
    return options, words


def help_text(usage: str, text: str, table: Table) -> str:
    """What --help prints."""
    lines = []
    for name, (metavar, what) in table.items():
        head = f"{name} {metavar}".rstrip()
        lines.append(f"  {head:22} {what}")
    return f"usage: {usage}\n\n{text.strip()}\n\noptions:\n" + "\n".join(lines)


def one_word(words: Sequence[str], what: str) -> str:
    """The only word. Raises Usage."""
    if not words:
        raise Usage(f"{what} is missing")
    refuse_more(words, 1)
    return words[0]


def refuse_more(words: Sequence[str], most: int) -> None:
    """Raise Usage if there are more words than `most`."""
    if len(words) > most:
        raise Usage(f"unexpected: {' '.join(words[most:])}")
