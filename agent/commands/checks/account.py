"""Checks whether the host knows an OS user, and whether sshd and PAM admit the account."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Mapping
from typing import Optional

from agent.commands.checks.finding import THIS_HOST, Finding, Host, fault, note, unknown
from agent.commands.checks.sshd import uses_pam

_DAY = 24 * 60 * 60


def account(
    user: str, sshd: Optional[Mapping[str, str]] = None, host: Host = THIS_HOST
) -> list[Finding]:
    """Reasons that keep `user` out with any key. `sshd`: the output of sshd -T, if known."""
    try:
        entry = pwd.getpwnam(user)
    except (KeyError, ValueError):
        return [
            fault(
                "user-unknown",
                f"this host has no user {user}: sshd asks for no keys of an unknown user",
                "log in as an existing user, or create it: useradd --create-home USER",
            )
        ]
    return [
        *_check_shell(entry, host),
        *_shadow(user, sshd, host),
        *_check_nologin(entry, host),
    ]


def _check_shell(entry: pwd.struct_passwd, host: Host) -> list[Finding]:
    # An empty field means /bin/sh (passwd(5)).
    shell = entry.pw_shell or "/bin/sh"
    remedy = f"give it one: usermod --shell /bin/sh {entry.pw_name}"
    if not os.access(shell, os.X_OK) or not os.path.isfile(shell):
        what = (
            f"the shell of {entry.pw_name}, {shell}, does not exist or is not executable: "
            "sshd refuses the login"
        )
        return [fault("shell-missing", what, remedy)]
    if os.path.basename(shell) in {"nologin", "false"}:
        what = (
            f"the shell of {entry.pw_name} is {shell}: the login succeeds and the session "
            "ends at once"
        )
        return [fault("shell-nologin", what, remedy)]
    try:
        with open(host.shells, encoding="utf-8", errors="replace") as file:
            listed = file.read().split()
    except OSError:
        return []
    if shell in listed:
        return []
    what = (
        f"the shell of {entry.pw_name}, {shell}, is not in {host.shells}: pam_shells "
        "refuses the login"
    )
    return [note("shell-not-listed", what, f"add it to {host.shells} if PAM uses pam_shells")]


def _shadow(user: str, sshd: Optional[Mapping[str, str]], host: Host) -> list[Finding]:
    try:
        with open(host.shadow, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.rstrip("\n").split(":") for line in file]
    except OSError as error:
        return [
            unknown("account-unknown", f"whether {user} is locked: {host.shadow}: {error.strerror}")
        ]
    for fields in lines:
        if fields[0] == user and len(fields) >= 8:
            return [*_check_locked(user, fields[1], sshd, host), *_check_expired(user, fields[7])]
    return []


def _check_locked(
    user: str, password: str, sshd: Optional[Mapping[str, str]], host: Host
) -> list[Finding]:
    """Sshd itself takes `!` for locked, but not where PAM decides (sshd_config(5), UsePAM)."""
    if not password.startswith("!") or sshd is None or uses_pam(sshd, host):
        return []
    return [
        fault(
            "account-locked",
            f"the account {user} is locked (its password is `!`) and sshd has UsePAM no: sshd "
            "refuses it and never asks for its keys",
            f"allow keys without a password: usermod --password '*' {user}; or set UsePAM yes",
        )
    ]


def _check_expired(user: str, day: str) -> list[Finding]:
    if not day.isdigit() or int(day) * _DAY > time.time():
        return []
    when = time.strftime("%Y-%m-%d", time.gmtime(int(day) * _DAY))
    return [
        fault(
            "account-expired",
            f"the account {user} expired on {when}: PAM refuses it, whatever the key",
            f"chage --expiredate -1 {user}",
        )
    ]


def _check_nologin(entry: pwd.struct_passwd, host: Host) -> list[Finding]:
    if entry.pw_uid == 0:
        return []
    return [
        fault("nologin-file", f"{path} exists: nobody but root may log in", f"remove {path}")
        for path in host.nologin
        if os.path.exists(path)
    ]
