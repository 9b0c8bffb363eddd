"""Who holds sshd's slot for an AuthorizedKeysCommand: files, Match blocks, command lines."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from agent.sshd_files.directives import directives
from agent.sshd_setup.sshd import Sshd

_OPTION = re.compile(r"AuthorizedKeysCommand\s*[=\s]\s*\S", re.IGNORECASE)
# Where a distribution or an administrator puts options of sshd's command line.
_COMMAND_LINES = ["etc/default/ssh", "etc/sysconfig/sshd"] + [
    f"{place}/systemd/system/{unit}"
    for place in ("etc", "run", "usr/lib")
    for unit in ("ssh*.service", "ssh*.service.d/*.conf")
]


class Slot(NamedTuple):
    """One place that names an AuthorizedKeysCommand. `match` is its Match line, or empty."""

    where: str
    command: str
    match: str = ""


def slots(sshd: Sshd) -> list[Slot]:
    """Every place that names a command: files, then command lines."""
    found = [
        Slot(where, value, match)
        for where, keyword, value, match in directives(sshd.config)
        if keyword == "authorizedkeyscommand"
        # `none` in a Match block takes the command away there, which is no command of another.
        and not (match and value.lower() == "none")
    ]
    return found + list(_options(sshd.root))


def listed(found: Sequence[Slot]) -> str:
    """The places, a line each, for people."""
    return "".join(
        f"  {where}: {command}  {match}".rstrip() + "\n" for where, command, match in found
    )


def _options(root: str) -> Iterator[Slot]:
    """Commands given by `-o`: in files that make sshd's command line, and of a running sshd."""
    for pattern in _COMMAND_LINES:
        for name in sorted(glob.glob(os.path.join(root, pattern))):
            for number, line in enumerate(text_of(name).splitlines(), 1):
                if not line.lstrip().startswith("#") and _OPTION.search(line):
                    yield Slot(f"{name}:{number}", line.strip())
    for name in glob.glob(os.path.join(root, "proc/[0-9]*/cmdline")):
        # Anybody may call a process sshd; the one that listens is root's.
        if not _is_roots(name):
            continue
        line = text_of(name).replace("\0", " ").strip()
        if re.match(r"(sshd: )?\S*sshd\b", line) and _OPTION.search(line):
            yield Slot(f"the running sshd (process {name.split(os.sep)[-2]})", line)


def _is_roots(path: str) -> bool:
    try:
        return os.stat(path).st_uid == 0
    except OSError:
        return False


def text_of(path: str) -> str:
    """What stands in a file; nothing where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except OSError:
        return ""
