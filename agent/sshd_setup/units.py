"""sshd's command line in systemd's units, and an override that removes a command from it.

AWS's package for Ubuntu passes AuthorizedKeysCommand with `-o`, in a drop-in of ssh.service. No
file of sshd's can override that. Source: systemd.unit(5), systemd.service(5), systemd.syntax(7).
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from agent.sshd_files.files import text_of
from agent.sshd_files.units import FOLDERS, START, UNITS, unit_lines
from agent.sshd_setup.sshd import SetupError

# Sorts after the drop-ins of others: they are read in the order of their names in all folders.
OVERRIDE = "zz-sixtykey.conf"
MARK = "# Written by sixtykey's sshd-setup, which also removes it.\n"
# A word of a command line, with its quotes.
_WORD = re.compile(r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s"'])+""")
_OPTION = re.compile(r"AuthorizedKeysCommand(User)?\s*[=\s]\s*(.*)", re.IGNORECASE | re.DOTALL)


class SplitCommand(NamedTuple):
    """The command and user that a command line passes with `-o`, and the line without them."""

    command: str
    user: str
    rest: str


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
    lines = unit_lines(root, unit)
    started = [line for line in lines if line.key == START]
    if len(started) != 1:
        raise SetupError(f"{unit} has {len(started)} lines {START}=: change it by hand")
    text = f"{MARK}[Service]\n{START}=\n{START}={split_options(started[0].value).rest}\n"
    return _override_path(root, unit), text


def overrides(root: str) -> list[tuple[str, str]]:
    """The units with an override of ours, each with the override's path."""
    found = [(unit, _override_path(root, unit)) for unit in UNITS]
    return [(unit, path) for unit, path in found if text_of(path).startswith(MARK)]


def _unquote(word: str) -> str:
    return re.sub(r"""(["'])((?:[^\\]|\\.)*?)\1""", r"\2", word)


def _override_path(root: str, unit: str) -> str:
    return os.path.join(root, FOLDERS[0], f"{unit}.d", OVERRIDE)
