"""Plans where our lines go, and which existing lines they replace."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Collection, Sequence
from typing import NamedTuple

from agent.sshd_files.directives import Directive, directives
from agent.sshd_files.files import text_of
from agent.sshd_setup import lines, main_file, units
from agent.sshd_setup.changes import Change
from agent.sshd_setup.slots import Slot, describe
from agent.sshd_setup.sshd import SetupError, Sshd

MARK = units.MARK
_KEYWORDS = ("authorizedkeyscommand", "authorizedkeyscommanduser")


class Placement(NamedTuple):
    """How the slot is taken.

    Attributes:
        lines: our lines for sshd. `changes`: files, in the order to write them.
        units: units whose command line changes. `steps`: all changes, described for people.
        member: an OS user to add to the helper's group; may be empty.
    """

    lines: str
    changes: tuple[Change, ...]
    units: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    member: str = ""


def use_free_slot(sshd: Sshd) -> Placement:
    """Take a free slot. Raises SetupError: our file's name is taken by another file."""
    return _place(sshd, lines.own_lines(), (), ())


def replace_commands(sshd: Sshd, others: Sequence[Slot]) -> Placement:
    """Put our command in place of the existing ones.

    Their lines in sshd_config become comments. Lines in other files stay, since sshd reads ours
    first. A unit that passes a command with `-o` gets an override.

    Raises:
        SetupError: a command is in a place where it cannot be replaced.
    """
    if any(slot.match for slot in others):
        raise SetupError(f"a Match block's command is for some users only:\n{describe(others)}")
    found = [line for line in directives(sshd.config) if line.keyword in _KEYWORDS]
    numbers = [_number(line, sshd) for line in found if not line.match]
    return _place(sshd, lines.own_lines(), [n for n in numbers if n], _units(others))


def chain_command(sshd: Sshd, others: Sequence[Slot]) -> Placement:
    """Run our command, and after it the one existing command.

    Raises:
        SetupError: the command cannot be chained, or there are several.
    """
    found = [slot for slot in others if slot.unit] or list(others)
    if found[0].command.lower() == "none":
        raise SetupError(f"it is configured to have no command:\n{describe(found)}")
    if len(found) > 1 or found[0].match or (found[0].is_option and not found[0].unit):
        raise SetupError(f"only one command, for all users, can be chained:\n{describe(found)}")
    slot, user = found[0], sshd.effective().get("authorizedkeyscommanduser", "root")
    if slot.unit:
        given = units.split_options(slot.command)
        slot, user = slot._replace(command=given.command), given.user or user
    placement = _place(sshd, lines.chained_lines(slot, user), (), _units(others), _is_above(sshd))
    return placement._replace(member="" if user in {"root", lines.HELPER_USER} else user)


def restore_lines(sshd: Sshd) -> list[Change]:
    """Remove all of our lines, and restore the lines that they replaced."""
    changes = []
    if text_of(sshd.drop_in).startswith(MARK):
        changes.append(Change(sshd.drop_in, None))
    text, copy = text_of(sshd.main), sshd.main + main_file.COPY
    before = main_file.without_ours(text)
    if before != text:
        changes.append(Change(sshd.main, before))
    if os.path.exists(copy) and text_of(copy) == before:
        changes.append(Change(copy, None))
    return changes + [Change(path, None) for _, path in units.overrides(sshd.root)]


def _place(
    sshd: Sshd,
    content: str,
    commented: Collection[int],
    overridden: Sequence[str],
    at_head: bool = False,
) -> Placement:
    changes, steps = [], []
    text = text_of(sshd.main)
    in_main = at_head or not _reads_drop_in(sshd)
    if commented or in_main:
        after = main_file.with_ours(text, content if in_main else "", commented)
        copy = sshd.main + main_file.COPY
        before = main_file.without_ours(text)
        changes += [Change(copy, before, sshd.main), Change(sshd.main, after)]
        steps.append(f"keep a copy of {sshd.main} as {copy}")
        steps += [f"make line {number} of {sshd.main} a comment" for number in sorted(commented)]
    if in_main:
        steps.append(f"write our two lines at the top of {sshd.main}")
    else:
        if os.path.lexists(sshd.drop_in) and not text_of(sshd.drop_in).startswith(MARK):
            raise SetupError(f"{sshd.drop_in} belongs to somebody else: rename it first")
        changes.append(Change(sshd.drop_in, MARK + content))
        steps.append(f"write our two lines to {sshd.drop_in}")
    for unit in overridden:
        path, override = units.override(sshd.root, unit)
        changes.append(Change(path, override))
        start = override.splitlines()[-1]
        steps.append(f"write {path}: {start}\n    and restart {unit}, which ends no session")
    return Placement(content, tuple(changes), tuple(overridden), tuple(steps))


def _units(others: Sequence[Slot]) -> list[str]:
    """The units to override. Raises SetupError: sshd's option comes from another place."""
    found = list(dict.fromkeys(slot.unit for slot in others if slot.unit))
    foreign = [slot for slot in others if slot.is_option and not slot.unit]
    # A running sshd's option is explained if a unit passes it.
    if foreign and not (found and all(slot.is_running for slot in foreign)):
        raise SetupError(f"remove it from sshd's command line by hand:\n{describe(foreign)}")
    return found


def _reads_drop_in(sshd: Sshd) -> bool:
    """Whether sshd_config includes our drop-in for every login, and the folder exists."""
    patterns = [
        os.path.join("/etc/ssh", pattern)
        for line in directives(sshd.config)
        if line.keyword == "include" and not line.match and _number(line, sshd)
        for pattern in line.value.replace('"', "").split()
    ]
    folder = os.path.dirname(sshd.drop_in)
    return os.path.isdir(folder) and any(fnmatch.fnmatch(sshd.drop_in, p) for p in patterns)


def _is_above(sshd: Sshd) -> bool:
    """Whether sshd_config itself names a command, or its user, before it includes anything."""
    for line in directives(sshd.config):
        if line.keyword == "include":
            return False
        if line.keyword in _KEYWORDS and not line.match:
            return True
    return False


def _number(line: Directive, sshd: Sshd) -> int:
    """The number of a line of sshd_config itself; 0 for one of a file that it includes."""
    path, _, number = line.where.rpartition(":")
    return int(number) if path == sshd.config else 0
