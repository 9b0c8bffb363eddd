"""Checks the helper as sshd sees it: its path, owner, and user."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from typing import Optional

from agent.commands.checks.finding import Finding, fact, fault, note
from agent.commands.checks.sockets import lookup_socket
from agent.config.settings import Config

# Its name in a package, and in a checkout.
NAMES = frozenset({"authorized-keys", "authorized-keys-python", "authorized_keys.py"})
INSTALLED = "/usr/lib/sixtykey/authorized-keys"


def is_ours(command: str) -> bool:
    """Whether an AuthorizedKeysCommand runs our helper, alone or in a chain."""
    return any(os.path.basename(word) in NAMES for word in _words(command))


def _words(command: str) -> list[str]:
    return command.replace('"', " ").split()


def helper(command: str, user: str, config: Optional[Config]) -> list[Finding]:
    """Reasons why sshd could not run `command` as `user`, or why it would get no answer."""
    words = _words(command)
    paths = list(dict.fromkeys([words[0], *(w for w in words if os.path.basename(w) in NAMES)]))
    found = [finding for path in paths for finding in _path(path)]
    if "%u" not in words:
        what = f"AuthorizedKeysCommand does not pass the user to the helper: {command}"
        found.append(fault("helper-arguments", what, "end it with %u %f"))
    elif "%f" not in words:
        what = f"AuthorizedKeysCommand does not pass the offered key: {command}"
        more = "end it with %u %f: then refusals can be explained, and only one key is read"
        found.append(note("helper-arguments", what, more))
    return found + _user(user, _socket(words, config))


def running(command: str) -> Iterator[Finding]:
    """Which helper `command` runs: the compiled one, or the one in Python."""
    for path in (word for word in _words(command) if os.path.basename(word) in NAMES):
        try:
            with open(path, "rb") as file:
                compiled = file.read(4) == b"\x7fELF"
        except OSError:
            continue  # Reported separately as a fault.
        form = "the compiled helper" if compiled else "the helper in Python"
        yield fact("helper-form", f"sshd runs {form}: {path}")


def _socket(words: list[str], config: Optional[Config]) -> str:
    """The lookup socket that the command asks."""
    if "--socket" in words[:-1]:
        return words[words.index("--socket") + 1]
    return "/run/sixtykey/lookup.sock" if config is None else config.lookup.socket


def _path(path: str) -> list[Finding]:
    """Sshd's own conditions (sshd_config(5), AuthorizedKeysCommand; safe_path() in misc.c)."""
    if not path.startswith("/"):
        what = f"AuthorizedKeysCommand: {path} is not an absolute path, so sshd does not run it"
        return [fault("helper-path", what, f"write {INSTALLED}")]
    real = os.path.realpath(path)
    try:
        status = os.stat(real)
    except OSError as error:
        what = f"sshd is configured to run {path}: {error.strerror}"
        return [fault("helper-missing", what, "install the package again, or remove that line")]
    found = []
    if not status.st_mode & 0o111 and path.endswith("authorized-keys"):
        found.append(fault("helper-mode", f"{real} is not executable", f"chmod 0755 {real}"))
    while True:
        status = os.stat(real)
        if status.st_uid != 0 or status.st_mode & 0o022:
            mode = f"uid {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}"
            what = f"sshd does not run {path}: users other than root may change {real} ({mode})"
            remedy = f"chown root {real} && chmod go-w {real}"
            found.append(fault("helper-ownership", what, remedy))
        if real == "/":
            return found
        real = os.path.dirname(real)


def _user(name: str, path: str) -> list[Finding]:
    remedy = "AuthorizedKeysCommandUser sixtykey-lookup, below AuthorizedKeysCommand"
    if name in {"", "none"}:
        what = "sshd does not run the command: AuthorizedKeysCommandUser is not set"
        return [fault("helper-user-missing", what, remedy)]
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        what = (
            f"sshd does not run the command: AuthorizedKeysCommandUser {name} is not a "
            "user of this host"
        )
        return [fault("helper-user-unknown", what, remedy)]
    return lookup_socket(path, user)
