"""Reads PAM's account phase for sshd, and checks the line for one-time keys.

Source: pam.conf(5), pam_exec(8).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Optional

PROGRAM = "/usr/lib/sixtykey/pam-account"
SERVICE = "/etc/pam.d/sshd"
LINE = f"account required pam_exec.so quiet {PROGRAM}"
SOCKET = "/run/sixtykey/lookup.sock"
# The folders of an include, in the order of the search: pam.d(5).
_FOLDERS = ("etc/pam.d", "usr/lib/pam.d")
# libpam's own limit of nested includes (PAM_SUBSTACK_MAX_LEVEL).
_DEPTH = 16
# A control, which may be a list of actions, then a module and its arguments.
_LINE = re.compile(r"-?(\w+)\s+(\[[^\]]*\]|\S+)\s+(\S+)\s*(.*)")
# pam_exec's options that do not change the outcome. (`type=` could skip the line.)
_HARMLESS = frozenset({"quiet", "quiet_log", "debug", "seteuid"})
# After a line with one of these controls, PAM runs the next line, or the login is refused.
_GOING_ON = frozenset({"required", "requisite", "optional", "substack"})
_ACTIONS_GOING_ON = frozenset({"ignore", "bad", "die", "ok", "reset"})


class PamLine(NamedTuple):
    """A line of the account phase. `number`: its line number in the file `path`, from 1."""

    path: str
    number: int
    control: str
    module: str
    arguments: tuple[str, ...]

    @property
    def where(self) -> str:
        """The line's place, for people."""
        return f"{self.path}:{self.number}"

    @property
    def runs_pam_account(self) -> bool:
        """Whether it runs pam-account."""
        return os.path.basename(self.module) == "pam_exec.so" and PROGRAM in self.arguments

    @property
    def may_end_phase(self) -> bool:
        """Whether it can make PAM skip the lines after it and still let the user in."""
        if not self.control.startswith("["):
            return self.control not in _GOING_ON
        actions = [pair.partition("=")[2].strip("]") for pair in self.control.lower().split()]
        return any(action not in _ACTIONS_GOING_ON for action in actions if action)


class LineFault(NamedTuple):
    """What is wrong with the line for one-time keys: a name for programs, a text for people."""

    name: str
    what: str


def account_lines(path: str, root: str = "/", depth: int = 0) -> Iterator[PamLine]:
    """The account phase of a file, with includes expanded; `substack` stays a line.

    Raises OSError: a file cannot be read. ValueError: includes are nested too deeply.
    """
    if depth > _DEPTH:
        raise ValueError(f"{path}: files include each other")
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        text = file.read()
    for number, _, line in _join_lines(text):
        kind, _, included = line.partition(" ")
        if kind.lower() == "@include":
            yield from account_lines(_find(included.strip(), root), root, depth + 1)
            continue
        parts = _LINE.fullmatch(line)
        if parts is None or parts[1].lower() != "account":
            continue
        control = parts[2].lower()
        if control == "include":
            yield from account_lines(_find(parts[3], root), root, depth + 1)
        else:
            yield PamLine(path, number, control, parts[3], tuple(parts[4].split()))


def first_account_line(text: str) -> Optional[int]:
    """The number, from 1, of the first line that may belong to the account phase, if any."""
    for number, _, line in _join_lines(text):
        kind = line.partition(" ")[0].lower().lstrip("-")
        if kind in {"account", "@include"}:
            return number
    return None


def without_line(text: str) -> str:
    """A file's text without the lines that run pam-account."""
    lines = text.split("\n")
    for start, end, line in reversed(list(_join_lines(text))):
        if PROGRAM in line.split(" "):
            del lines[start - 1 : end]
    return "\n".join(lines)


def _join_lines(text: str) -> Iterator[tuple[int, int, str]]:
    """Each line with its first and last number, joined at backslashes, without comments."""
    start, whole, number = 0, "", 0
    for number, physical in enumerate(text.split("\n"), 1):
        start = start or number
        line = physical.partition("#")[0].rstrip()
        if line.endswith("\\"):
            whole += line[:-1] + " "
            continue
        whole = re.sub(r"\s+", " ", whole + line).strip()
        if whole:
            yield start, number, whole
        start, whole = 0, ""
    if whole.strip():
        yield start, number, re.sub(r"\s+", " ", whole).strip()


def _find(name: str, root: str) -> str:
    places = [os.path.join(root, folder, name) for folder in _FOLDERS]
    if name.startswith("/"):
        places = [os.path.join(root, name.lstrip("/"))]
    return next((place for place in places if os.path.exists(place)), places[0])


def line_faults(lines: Sequence[PamLine], socket: str = SOCKET) -> list[LineFault]:
    """Why the account phase does not ask the daemon at `socket` once per login, if so."""
    ours = [line for line in lines if line.runs_pam_account]
    if not ours:
        return [LineFault("pam-line-missing", f"{SERVICE} has no line `{LINE}`")]
    found = []
    if len(ours) > 1:
        places = ", ".join(line.where for line in ours)
        found.append(LineFault("pam-line-doubled", f"pam-account is run more than once: {places}"))
    first = ours[0]
    at = lines.index(first)
    ending = [line for line in lines[:at] if line.may_end_phase]
    if ending:
        what = f"{first.where}: PAM may never reach it, since {ending[0].where} may end the phase"
        found.append(LineFault("pam-line-misplaced", what))
    undoing = [line for line in lines[at + 1 :] if "=reset" in line.control]
    if undoing:
        what = f"{first.where}: its refusal is undone by the `reset` of {undoing[0].where}"
        found.append(LineFault("pam-line-misplaced", what))
    return found + [LineFault("pam-line-wrong", words) for words in _wrong(first, socket)]


def _wrong(line: PamLine, socket: str) -> Iterator[str]:
    """What is wrong in the line itself."""
    if line.control not in {"required", "requisite"}:
        yield f"{line.where}: a refusal has no effect, since it is not `required`: {line.control}"
    at = line.arguments.index(PROGRAM)
    odd = [word for word in line.arguments[:at] if word not in _HARMLESS]
    if odd:
        yield f"{line.where}: these options of pam_exec.so are not allowed: {' '.join(odd)}"
    rest = line.arguments[at + 1 :]
    if rest and (len(rest) != 2 or rest[0] != "--socket"):
        yield f"{line.where}: pam-account takes [--socket PATH], not {' '.join(rest)}"
    elif (rest[1] if rest else SOCKET) != socket:
        yield f"{line.where}: the daemon answers at {socket}: end it with --socket {socket}"
