"""Who holds sshd's slot for an AuthorizedKeysCommand: files, Match blocks, command lines."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from agent.sshd_files.directives import directives
from agent.sshd_setup import units
from agent.sshd_setup.files import text_of
from agent.sshd_setup.sshd import Sshd

_OPTION = re.compile(r"AuthorizedKeysCommand\s*[=\s]\s*\S", re.IGNORECASE)
# Files besides the unit in which a distribution or an administrator puts sshd's options.
_COMMAND_LINES = ("etc/default/ssh", "etc/sysconfig/sshd")


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
    for name in (os.path.join(root, name) for name in _COMMAND_LINES):
        for number, line in enumerate(text_of(name).split("\n"), 1):
            if not line.lstrip().startswith("#") and _OPTION.search(line):
                yield Slot(f"{name}:{number}", line.strip(), is_option=True)
    for each in units.find_options(root):
        unit = each.unit if each.key == units.START else ""
        yield Slot(each.where, f"{each.key}={each.value}", is_option=True, unit=unit)
    for name in glob.glob(os.path.join(root, "proc/[0-9]*/cmdline")):
        # Any user can name a process sshd; the real listener runs as root.
        if not _is_roots(name):
            continue
        line = text_of(name).replace("\0", " ").strip()
        if re.match(r"(sshd: )?\S*sshd\b", line) and _OPTION.search(line):
            running = f"the running sshd (process {name.split(os.sep)[-2]})"
            yield Slot(running, line, is_option=True, is_running=True)


def _is_roots(path: str) -> bool:
    try:
        return os.stat(path).st_uid == 0
    except OSError:
        return False
