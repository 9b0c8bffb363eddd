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
from agent.sshd_files.directives import key_after_interactive
from agent.sshd_files.files import text_of

# Files besides the unit in which a distribution or an administrator puts sshd's options.
_FILES = ("etc/default/ssh", "etc/sysconfig/sshd")
# The keys of a unit that give a command or a part of one; a description is neither.
_KEYS = ("Exec", "Environment")
_PID_FILE = "run/sshd.pid"
_SSHD = re.compile(r"(sshd: )?\S*sshd\b")
# The value of an option: one word, or all up to the next option or what sshd adds to its title.
_WORD, _WORDS = "[^ ]*", r".*?(?= [-\[]|$)"
_OTHER_FILE = re.compile(r"\s-[46DdeiqtTG]*f\s*(\S+)")
# Escapes in a unit (systemd.syntax(7)): a code in hexadecimal or octal digits, or a blank.
_ESCAPE = re.compile(r"\\(?:x([\da-f]{2})|u([\da-f]{4})|([0-7]{3})|[stnr])", re.IGNORECASE)
# Characters of a file in /proc: sshd's options are shorter, and another process may have 2 MiB.
_LONGEST = 65536


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
            if line.strip() and not line.lstrip().startswith(("#", ";")):
                yield CommandLine(f"{name}:{number}", line.strip())
    for each in units.all_lines(root):
        if not each.key.startswith(_KEYS):
            continue
        unit = each.unit if each.key == units.START else ""
        yield CommandLine(each.where, f"{each.key}={each.value}", unit)


def running(root: str, config: Optional[str] = None) -> Iterator[CommandLine]:
    """The command lines of all of root's sshd processes that can be seen.

    `config`: only of those that read this sshd_config; others are separate sshds.
    """
    for folder in glob.glob(os.path.join(root, "proc/[0-9]*")):
        for line in _of_process(folder):
            named = _OTHER_FILE.search(line.text)
            is_meant = config is None or named is None or named[1] == config
            if is_meant and not _runs_another_program(folder):
                yield line


def known(root: str, config: Optional[str] = None) -> list[CommandLine]:
    """The lines that define sshd's command line, and those of running sshds; see `running`."""
    return [*configured(root), *running(root, config)]


def listening(root: str) -> Iterator[CommandLine]:
    """The command line of the sshd that its pid file names: no other process is looked at.

    Its program is not looked at either: the daemon may not.
    """
    number = text_of(os.path.join(root, _PID_FILE)).strip()
    if number.isascii() and number.isdigit():
        yield from _of_process(os.path.join(root, "proc", number))


def pam_faults(lines: Iterable[CommandLine]) -> Iterator[tuple[str, str]]:
    """What sshd's command lines set so that PAM does not see each login: a name, and words.

    A value that cannot be known, such as a variable, is a fault too.
    """
    for line in lines:
        for name, keyword, value, fault_of in (
            ("pam-off", "UsePAM", _WORD, _use_fault),
            ("pam-service", "PAMServiceName", _WORD, _service_fault),
            ("pam-before-key", "AuthenticationMethods", _WORDS, _methods_fault),
        ):
            for given in _values(line, keyword, value):
                unknown = f"what {keyword} is by -o cannot be known"
                words = fault_of(given) if _is_known(given) else unknown
                if words:
                    yield name, f"{words} ({line.where})"


def _use_fault(value: str) -> str:
    return "" if value.lower() == "yes" else f"sshd does not use PAM: UsePAM {value} by -o"


def _service_fault(value: str) -> str:
    return "" if value == "sshd" else f"sshd uses PAM's service {value}, not sshd: by -o"


def _methods_fault(value: str) -> str:
    steps = key_after_interactive(value)
    why = "sshd asks PAM before the key is used, and not again"
    return "" if steps is None else f"AuthenticationMethods {steps} by -o: {why}"


def _values(line: CommandLine, keyword: str, value: str) -> Iterator[str]:
    """The values that a line gives to a keyword. Of several options sshd takes the first one.

    In a file, what is not behind `-o` counts too: it may be a variable's value that is behind one.
    """
    # sshd allows one equals sign; and none and no blank behind a keyword in quotes.
    pattern = rf"(?:^|[ =])(?:(-\w*o[ =]*){keyword}|{keyword}(?=[ =$%]|$)) ?=? ?({value})"
    for text in dict.fromkeys((_plain(line.text), _plain(_decoded(line.text)))):
        found = list(re.finditer(pattern, text, re.IGNORECASE))
        yield from [each[2] for each in found if each[1]][:1]
        yield from [each[2] for each in found if not each[1] and not line.is_running]


def _plain(text: str) -> str:
    """The text without quotes, which are systemd's, a shell's or sshd's, and with single blanks.

    With wrong quotes sshd refuses an option; it does not take another value.
    """
    text = _single_blanks(re.sub(r"[\"'\\]", "", text))
    # In a unit, a variable that is a word of its own is more options (systemd.service(5)).
    return re.sub(r" \$\w+(?= |$)", " -", text) if text.startswith("Exec") else text


def _decoded(text: str) -> str:
    """The text with a unit's escapes decoded."""

    def character(found: re.Match[str]) -> str:
        digits = found[1] or found[2]
        if digits or found[3]:
            return chr(int(digits, 16) if digits else int(found[3], 8))
        return " "

    return _ESCAPE.sub(character, text)


def _single_blanks(text: str) -> str:
    # sshd's own blanks (misc.c).
    return re.sub(r"[ \t\r\n]+", " ", text)


def _is_known(value: str) -> bool:
    """Whether it is a value: neither nothing nor what follows an option, and no variable."""
    return bool(value) and value[0] not in "-[" and not re.search(r"[$%]", value)


def _of_process(folder: str) -> Iterator[CommandLine]:
    """The command line of a process, by its folder in /proc, if it is an sshd of this host."""
    # Any user can name a process sshd; the real listener runs as root.
    if not _is_roots(folder):
        return
    text = text_of(os.path.join(folder, "cmdline"), _LONGEST).replace("\0", " ")
    text = _single_blanks(text).strip()
    if _SSHD.match(text) and not _is_contained(folder):
        where = f"the running sshd (process {os.path.basename(folder)})"
        yield CommandLine(where, text, is_running=True)


def _is_roots(folder: str) -> bool:
    # Of a process that may not be dumped, all files are root's, but not the folder (proc(5)).
    try:
        return os.stat(folder).st_uid == 0
    except OSError:
        return False


def _is_contained(folder: str) -> bool:
    """Whether it is in another PID namespace, as in a container, whose sshd is not the host's."""
    status = text_of(os.path.join(folder, "status"), _LONGEST)
    # One id for each PID namespace, from the reader's to the process's own (proc(5)).
    return re.search(r"^NSpid:\s*\d+\s+\d", status, re.MULTILINE) is not None


def _runs_another_program(folder: str) -> bool:
    """Whether its program is known, and is no sshd: a user can run su under any name."""
    try:
        program = os.path.basename(os.readlink(os.path.join(folder, "exe")))
    except OSError:
        return False
    # After an upgrade the kernel adds a word to the name.
    return not program.startswith("sshd")
