"""Where sshd's configuration files say what: every directive with its place and its Match block."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

_KEYWORD = re.compile(r"\s*([A-Za-z]+)(?:\s*=\s*|\s+)(.*?)\s*$")
# sshd's own limit (servconf.c).
_DEPTH = 16


class Directive(NamedTuple):
    """A line of sshd_config. `match` is the Match line that it stands under, or empty."""

    where: str
    keyword: str
    value: str
    match: str


def directives(path: str, match: str = "", depth: int = 0) -> Iterator[Directive]:
    """Every directive of a file and of all that it includes, in the order that sshd reads them.

    Keywords are in lower case. A file that cannot be read has none. Source: sshd_config(5).
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
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
            for name in included(value):
                yield from directives(name, match, depth + 1)


def included(value: str) -> list[str]:
    """The files that an Include line names; relative ones are below /etc/ssh (sshd_config(5))."""
    patterns = value.replace('"', "").split()
    return [n for p in patterns for n in sorted(glob.glob(os.path.join("/etc/ssh", p)))]
