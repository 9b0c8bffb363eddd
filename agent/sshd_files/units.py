"""The effective lines of the units that start sshd.

Source: systemd.unit(5), systemd.service(5), systemd.syntax(7).
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from agent.sshd_files.files import text_of

# In order of priority: a file hides those of the same name in later folders.
FOLDERS = ("etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system",
           "usr/lib/systemd/system", "lib/systemd/system")  # fmt: skip
START = "ExecStart"
# As many links as the kernel follows (path_resolution(7)).
_LINKS = 40
UNITS = ("ssh.service", "sshd.service", "ssh@.service", "sshd@.service")


class Line(NamedTuple):
    """An effective line of a unit: the unit's name, file and line number, key and value."""

    unit: str
    where: str
    key: str
    value: str


def all_lines(root: str) -> list[Line]:
    """The effective lines of all units that start sshd."""
    return [line for unit in UNITS for line in unit_lines(root, unit)]


def unit_lines(root: str, unit: str) -> list[Line]:
    """A unit's effective lines. An empty value resets its key (systemd.service(5))."""
    found: list[Line] = []
    for path in _files(root, unit):
        for number, line in _lines(text_of(path)):
            key, equals, value = (part.strip() for part in line.partition("="))
            if equals and value:
                found.append(Line(unit, f"{path}:{number}", key, value))
            elif equals:
                found = [each for each in found if each.key != key]
    return found


def _files(root: str, unit: str) -> list[str]:
    """The unit's own file, then its drop-ins by name. A file hides namesakes in later folders.

    The drop-ins are those of the unit, of its aliases, and of all services (systemd.unit(5)).
    """
    folders = [os.path.join(root, folder) for folder in FOLDERS]
    # The unit does not exist, or the name is an alias of a unit that is read by itself.
    if _true_name(folders, unit) != unit:
        return []
    aliases = [a for a in UNITS if a != unit and _true_name(folders, a) == unit]
    named: dict[str, str] = {}
    for name in (unit, *aliases, "service"):
        for folder in folders:
            for path in glob.glob(os.path.join(folder, f"{name}.d", "*.conf")):
                named.setdefault(os.path.basename(path), path)
    return [_own_file(folders, unit)] + [named[name] for name in sorted(named)]


def _own_file(folders: list[str], unit: str) -> str:
    """The first file of that name, or empty."""
    return next((p for f in folders if os.path.exists(p := os.path.join(f, unit))), "")


def _true_name(folders: list[str], unit: str) -> str:
    """The name of the unit that a unit's name leads to; empty if there is none."""
    return os.path.basename(_follow(_own_file(folders, unit)))


def _follow(path: str) -> str:
    """Where a link leads. Unlike realpath(), it looks at no folder above: the daemon may not."""
    with suppress(OSError):
        for _ in range(_LINKS):
            if not os.path.islink(path):
                break
            path = os.path.join(os.path.dirname(path), os.readlink(path))
    return path


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines without comments; joined when a backslash continues them (systemd.syntax(7))."""
    whole, start = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip().startswith(("#", ";")):
            continue
        start = start or number
        if line.endswith("\\"):
            whole += line[:-1] + " "
            continue
        yield start, whole + line
        whole, start = "", 0
