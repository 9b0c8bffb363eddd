"""Reads sshd's configuration files: every directive with its place and its Match block."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from typing import NamedTuple, Optional

_KEYWORD = re.compile(r"\s*([A-Za-z]+)(?:\s*=\s*|\s+)(.*?)\s*$")
# sshd's own limit (servconf.c).
_DEPTH = 16


class Directive(NamedTuple):
    """A line of sshd_config. `match` is the Match line above it, or empty."""

    where: str
    keyword: str
    value: str
    match: str


def directives(
    path: str, match: str = "", depth: int = 0, unread: Optional[list[str]] = None
) -> Iterator[Directive]:
    """Every directive of a file and its includes, in the order in which sshd reads them.

    Keywords are in lower case. A file that cannot be read, or a folder that cannot be listed, is
    skipped, and its name is added to `unread`. Source: sshd_config(5).
    """
    unread = [] if unread is None else unread
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            # As in sshd, only a line feed ends a line.
            lines = file.read().split("\n")
    except OSError:
        unread.append(path)
        return
    for number, line in enumerate(lines, 1):
        parts = _KEYWORD.match(line)
        if parts is None:
            continue
        keyword, value = parts[1].lower(), parts[2]
        if keyword == "match":
            match = "" if value.lower() == "all" else f"Match {value}"
        yield Directive(f"{path}:{number}", keyword, value, match)
        if keyword == "include" and depth < _DEPTH:
            unread += _closed_folders(value)
            for name in expand_include(value):
                yield from directives(name, match, depth + 1, unread)


def expand_include(value: str) -> list[str]:
    """The files that an Include line names; relative ones are below /etc/ssh (sshd_config(5))."""
    return [name for pattern in _patterns(value) for name in sorted(glob.glob(pattern))]


def key_after_interactive(methods: str) -> Optional[str]:
    """The first list of AuthenticationMethods in which a key follows keyboard-interactive.

    For keyboard-interactive, sshd runs PAM's account phase in a child and keeps the result
    (OpenSSH, auth-pam.c). PAM is not asked again when a key follows.
    """
    for steps in methods.lower().replace('"', "").split():
        names = [step.partition(":")[0] for step in steps.split(",")]
        _, asked, after = ",".join(names).partition("keyboard-interactive")
        if asked and "publickey" in after.split(","):
            return steps
    return None


def _patterns(value: str) -> list[str]:
    return [os.path.join("/etc/ssh", pattern) for pattern in value.replace('"', "").split()]


def _closed_folders(value: str) -> list[str]:
    """The folders of an Include line that exist and cannot be listed."""
    folders = [os.path.dirname(pattern) for pattern in _patterns(value)]
    return [f for f in folders if os.path.isdir(f) and not _is_open(f)]


def _is_open(folder: str) -> bool:
    return os.access(folder, os.R_OK | os.X_OK, effective_ids=True)
