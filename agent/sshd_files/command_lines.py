"""sshd's command line: where it is defined, and what a running sshd has; `-o` overrides every file.

`sshd -T` shows none of these options, since it is another process (sshd(8)).
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Optional

from agent.sshd_files import units
from agent.sshd_files.directives import Directive, key_after_interactive
from agent.sshd_files.files import text_of

# Files besides the unit in which a distribution or an administrator puts sshd's options.
_FILES = ("etc/default/ssh", "etc/sysconfig/sshd")
_PID_FILE = "run/sshd.pid"
_SSHD = re.compile(r"(sshd: )?\S*sshd\b")
_OTHER_FILE = re.compile(r"\s-[46DdeiqtTG]*f\s*(\S+)")


class CommandLine(NamedTuple):
    """One place that gives sshd options.

    Attributes:
        where: file and line, or the process. `text`: the line, or what the process was started by.
        unit: the unit whose ExecStart= it is, or empty.
        is_running: whether it is a running sshd's.
    """

    where: str
    text: str
    unit: str = ""
    is_running: bool = False


def configured(root: str) -> Iterator[CommandLine]:
    """The lines that define sshd's command line: files of options, then the units."""
    for name in (os.path.join(root, name) for name in _FILES):
        for number, line in enumerate(text_of(name).split("\n"), 1):
            if line.strip() and not line.lstrip().startswith("#"):
                yield CommandLine(f"{name}:{number}", line.strip())
    for each in units.all_lines(root):
        unit = each.unit if each.key == units.START else ""
        yield CommandLine(each.where, f"{each.key}={each.value}", unit)


def running(root: str, config: Optional[str] = None) -> Iterator[CommandLine]:
    """The command lines of all of root's sshd processes that can be seen.

    `config`: only of those that read this sshd_config; others are separate sshds.
    """
    for name in glob.glob(os.path.join(root, "proc/[0-9]*/cmdline")):
        for line in _of_process(name):
            named = _OTHER_FILE.search(line.text)
            if config is None or named is None or named[1] == config:
                yield line


def listening(root: str) -> Iterator[CommandLine]:
    """The command line of the sshd that its pid file names: no other process is looked at."""
    number = text_of(os.path.join(root, _PID_FILE)).strip()
    if number.isascii() and number.isdigit():
        yield from _of_process(os.path.join(root, "proc", number, "cmdline"))


def options(lines: Iterable[CommandLine], keyword: str) -> Iterator[Directive]:
    """The value that each line gives to a keyword (in lower case) by `-o`; its first one counts."""
    # The value ends at a quote, a variable, the next option, or what sshd adds to its own title.
    pattern = rf"{keyword}\s*[=\s]\s*([^\"'$]+?)(?=\s+[-\[]|[\"'$]|\s*$)"
    for line in lines:
        found = re.search(pattern, line.text, re.IGNORECASE)
        if found is not None:
            yield Directive(line.where, keyword, found[1].strip(), "")


def pam_faults(lines: Iterable[CommandLine]) -> Iterator[tuple[str, str]]:
    """What sshd's command lines set so that PAM does not see each login: a name, and words."""
    given = [*lines]
    for use in options(given, "usepam"):
        if use.value.split()[0].lower() != "yes":
            yield "pam-off", f"sshd does not use PAM: UsePAM {use.value} by -o ({use.where})"
    for service in options(given, "pamservicename"):
        if service.value.split()[0] != "sshd":
            words = f"sshd uses PAM's service {service.value}, not sshd: by -o ({service.where})"
            yield "pam-service", words
    for methods in options(given, "authenticationmethods"):
        steps = key_after_interactive(methods.value)
        if steps is not None:
            words = f"AuthenticationMethods {steps} by -o ({methods.where})"
            yield "pam-before-key", f"{words}: sshd asks PAM before the key is used, and not again"


def _of_process(path: str) -> Iterator[CommandLine]:
    # Any user can name a process sshd; the real listener runs as root.
    if not _is_roots(path):
        return
    text = text_of(path).replace("\0", " ").strip()
    if _SSHD.match(text):
        where = f"the running sshd (process {path.split(os.sep)[-2]})"
        yield CommandLine(where, text, is_running=True)


def _is_roots(path: str) -> bool:
    try:
        return os.stat(path).st_uid == 0
    except OSError:
        return False
