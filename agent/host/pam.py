"""Checks whether this host can enforce one-time keys: sshd's PAM stack has to ask the daemon."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from agent.config.document import Problems
from agent.sshd_files import command_lines
from agent.sshd_files.directives import directives, key_after_interactive
from agent.sshd_files.pam_file import PROGRAM, SERVICE, SOCKET, account_lines, line_faults

_SETUP = "run /usr/lib/sixtykey/sshd-setup enable --one-time"


def check_one_time(root: str = "/", socket: str = SOCKET) -> None:
    """Check that a login with a one-time key cannot succeed without the daemon's consent.

    `root` is the folder of the host's files; `socket` is lookup.socket of the configuration. If
    this user may not read sshd's configuration, units or command line, UsePAM is unknown, and that
    is not reported.

    Raises Problems: one-time keys cannot be enforced here; the message says why and what to do.
    """
    problems = [*program_faults(root), *_stack(root, socket), *_sshd(root), *_options(root)]
    if problems:
        raise Problems(
            f"one-time keys cannot be enforced on this host: {words}" for words in problems
        )


def program_faults(root: str = "/") -> list[str]:
    """Reasons why PAM cannot run pam-account, or why others than root can change it."""
    path = os.path.join(root, PROGRAM.lstrip("/"))
    try:
        status = os.stat(path)
    except OSError as error:
        return [f"{path}: {error.strerror} (install the package sixtykey)"]
    if not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o111:
        return [f"{path} is not an executable file"]
    if status.st_uid != 0 or status.st_mode & 0o022:
        return [f"users other than root may change {path}"]
    return []


def _stack(root: str, socket: str) -> list[str]:
    path = os.path.join(root, SERVICE.lstrip("/"))
    try:
        faults = line_faults(list(account_lines(path, root)), socket)
    except OSError as error:
        return [f"{error.filename}: {error.strerror}"]
    except ValueError as error:
        return [str(error)]
    # A doubled line is harmless: the daemon gives the same login the same answer.
    return [f"{f.what}: {_SETUP}" for f in faults if f.name != "pam-line-doubled"]


def _sshd(root: str) -> Iterator[str]:
    """Problems in sshd's files about PAM, as far as they can be read; the first value counts."""
    unread: list[str] = []
    said: dict[str, str] = {}
    for line in directives(os.path.join(root, "etc/ssh/sshd_config"), unread=unread):
        if line.keyword == "authenticationmethods":
            # Of any Match block: some login may be one of its.
            steps = key_after_interactive(line.value)
            if steps is not None:
                yield (
                    f"{line.where}: AuthenticationMethods {steps}: sshd asks PAM before the key is "
                    "used, and not again; put publickey first"
                )
        # An unreadable file before this line may have a different value.
        if line.keyword in {"usepam", "pamservicename"} and not line.match and not unread:
            said.setdefault(line.keyword, line.value.strip('"').lower())
    if said.get("usepam", "yes" if unread else "no") != "yes":
        yield "sshd does not use PAM: set UsePAM yes in sshd_config, then reload sshd"
    service = said.get("pamservicename", "sshd")
    if service != "sshd":
        yield f"sshd uses PAM's service {service} (PAMServiceName), not sshd"


def _options(root: str) -> Iterator[str]:
    """Problems in sshd's command line, which overrides its files."""
    lines = [*command_lines.configured(root), *command_lines.listening(root)]
    for _, words in command_lines.pam_faults(lines):
        yield f"{words}: remove that option, then restart sshd"
