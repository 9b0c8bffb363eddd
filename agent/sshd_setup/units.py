"""sshd's command line in systemd's units, and an override that removes a command from it.

AWS's package for Ubuntu passes AuthorizedKeysCommand with `-o`, in a drop-in of ssh.service. No
file of sshd's can override that. Source: systemd.unit(5), systemd.service(5), systemd.syntax(7).
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from agent.sshd_setup.files import text_of
from agent.sshd_setup.sshd import SetupError

# Sorts after the drop-ins of others: they are read in the order of their names in all folders.
OVERRIDE = "zz-sixtykey.conf"
MARK = "# Written by sixtykey's sshd-setup, which also removes it.\n"
# In order of priority: a file hides those of the same name in later folders.
_FOLDERS = ("etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system",
            "usr/lib/systemd/system", "lib/systemd/system")  # fmt: skip
START = "ExecStart"
_UNITS = ("ssh.service", "sshd.service", "ssh@.service", "sshd@.service")
# A word of a command line, with its quotes.
_WORD = re.compile(r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s"'])+""")
_MENTION = re.compile(r"AuthorizedKeysCommand\s*[=\s]\s*\S", re.IGNORECASE)
_OPTION = re.compile(r"AuthorizedKeysCommand(User)?\s*[=\s]\s*(.*)", re.IGNORECASE | re.DOTALL)


class Line(NamedTuple):
    """An effective line of a unit: the unit's name, file and line number, key and value."""

    unit: str
    where: str
    key: str
    value: str


class SplitCommand(NamedTuple):
    """The command and user that a command line passes with `-o`, and the line without them."""

    command: str
    user: str
    rest: str


def find_options(root: str) -> list[Line]:
    """The effective lines, of the units that start sshd, that pass a command with `-o`."""
    found = [line for unit in _UNITS for line in _of(root, unit)]
    return [line for line in found if _MENTION.search(line.value)]


def split_options(command: str) -> SplitCommand:
    """Remove the `-o` options for AuthorizedKeysCommand and its user from a command line."""
    values = {"": "", "user": ""}
    kept: list[str] = []
    words = _WORD.findall(command)
    while words:
        word = words.pop(0)
        plain = _unquote(word)
        taken = [word]
        if plain == "-o" and words:
            taken.append(words.pop(0))
            plain += _unquote(taken[-1])
        option = _OPTION.fullmatch(plain[2:].strip()) if plain.startswith("-o") else None
        if option is None:
            kept += taken
        else:
            # The first one counts, as in sshd's files.
            name = (option[1] or "").lower()
            values[name] = values[name] or option[2].strip()
    # %% is systemd's way to write a %.
    command, user = (values[name].replace("%%", "%") for name in ("", "user"))
    return SplitCommand(command, user, " ".join(kept))


def override(root: str, unit: str) -> tuple[str, str]:
    """The path and the text of the drop-in that starts sshd without a command in `-o`.

    Raises:
        SetupError: the unit does not have exactly one line that starts sshd.
    """
    lines = _of(root, unit)
    started = [line for line in lines if line.key == START]
    if len(started) != 1:
        raise SetupError(f"{unit} has {len(started)} lines {START}=: change it by hand")
    text = f"{MARK}[Service]\n{START}=\n{START}={split_options(started[0].value).rest}\n"
    return _override_path(root, unit), text


def overrides(root: str) -> list[tuple[str, str]]:
    """The units with an override of ours, each with the override's path."""
    found = [(unit, _override_path(root, unit)) for unit in _UNITS]
    return [(unit, path) for unit, path in found if text_of(path).startswith(MARK)]


def _of(root: str, unit: str) -> list[Line]:
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
    """The unit's own file, then its drop-ins by name. A file hides namesakes in later folders."""
    folders = [os.path.join(root, folder) for folder in _FOLDERS]
    own = [path for f in folders if os.path.exists(path := os.path.join(f, unit))][:1]
    # The unit does not exist, or the name is an alias of a unit that is read by itself.
    if not own or os.path.basename(os.path.realpath(own[0])) != unit:
        return []
    named: dict[str, str] = {}
    for folder in folders:
        for path in glob.glob(os.path.join(folder, f"{unit}.d", "*.conf")):
            named.setdefault(os.path.basename(path), path)
    return own + [named[name] for name in sorted(named)]


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


def _unquote(word: str) -> str:
    return re.sub(r"""(["'])((?:[^\\]|\\.)*?)\1""", r"\2", word)


def _override_path(root: str, unit: str) -> str:
    return os.path.join(root, _FOLDERS[0], f"{unit}.d", OVERRIDE)
