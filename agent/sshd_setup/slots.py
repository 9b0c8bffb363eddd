"""Who holds sshd's slot for an AuthorizedKeysCommand: files, Match blocks, command lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from agent.sshd_files import command_lines
from agent.sshd_files.directives import directives
from agent.sshd_setup.sshd import Sshd

_OPTION = re.compile(r"AuthorizedKeysCommand\s*[=\s]\s*\S", re.IGNORECASE)


class Slot(NamedTuple):
    """One place that names an AuthorizedKeysCommand.

    Attributes:
        where: file and line, or the process. `command`: the command that it names.
        match: its Match line, or empty. `is_option`: whether it is an `-o` option.
        is_running: whether it is an option of a running sshd.
        unit: the unit whose ExecStart= has it, or empty.
    """

    where: str
    command: str
    match: str = ""
    is_option: bool = False
    is_running: bool = False
    unit: str = ""


def slots(sshd: Sshd) -> list[Slot]:
    """Every place that names a command: files, then command lines."""
    found = [
        Slot(where, value, match)
        for where, keyword, value, match in directives(sshd.config)
        if keyword == "authorizedkeyscommand"
        # `none` in a Match block disables the command there; it is not another command.
        and not (match and value.lower() == "none")
    ]
    return found + list(_options(sshd.root))


def describe(found: Sequence[Slot]) -> str:
    """List the places for people, one line each."""
    return "".join(
        f"  {slot.where}: {slot.command}  {slot.match}".rstrip() + "\n" for slot in found
    )


def _options(root: str) -> Iterator[Slot]:
    """Commands given by `-o`: in files that define sshd's command line, or to a running sshd."""
    for line in command_lines.known(root):
        if _OPTION.search(line.text):
            yield Slot(line.where, line.text, "", True, line.is_running, line.unit)
