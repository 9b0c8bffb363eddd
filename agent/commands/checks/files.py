"""Checks the daemon's files: configuration, credentials, and the journal's folder."""

from __future__ import annotations

import os
import pwd
import stat
import time
from collections.abc import Iterable, Iterator
from typing import Optional

from agent.commands.checks.finding import Finding, fault, note, unknown
from agent.config.settings import Config, Keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agent.sources.api.credentials import Credential

DAEMON_USER = "sixtykey"
# Report a credential this long (s) before its expiry: two weeks to renew it.
_SOON = 14 * 86400


def configuration(path: str) -> tuple[Optional[Config], list[Finding]]:
    """The configuration, if it can be used, and its problems."""
    from agent.config import file as config_file
    from agent.config.document import Problems

    try:
        return config_file.load(path), []
    except Problems as problems:
        if os.path.exists(path) and not os.access(path, os.R_OK):
            return None, [unknown("configuration-unreadable", problems.problems[0])]
        remedy = f"fix it (sixtykey.yaml(5) explains each key): {path}"
        return None, [fault("configuration-wrong", what, remedy) for what in problems.problems]


def owner(process: Optional[int]) -> Optional[pwd.struct_passwd]:
    """The daemon's user: the running daemon's, else the package's; None: unknown."""
    try:
        if process is not None:
            return pwd.getpwuid(os.stat(f"/proc/{process}").st_uid)
        return pwd.getpwnam(DAEMON_USER)
    except (OSError, KeyError):
        return None


def credentials(config: Config, daemon: Optional[pwd.struct_passwd]) -> list[Finding]:
    """Check the credentials file: present, readable for the daemon only, and valid."""
    if config.push.http is None:
        return []
    path = config.push.credentials
    try:
        status = os.stat(path)
    except FileNotFoundError:
        add = "sixtykey credentials add --user USER"
        return [fault("credentials-missing", f"{path} does not exist: nobody can push", add)]
    except OSError as error:
        return [unknown("credentials-unreadable", f"{path}: {error.strerror}")]
    group = "root:sixtykey" if daemon is None else f"root:{_group(daemon)}"
    remedy = f"chown {group} {path} && chmod 0640 {path}"
    if status.st_mode & 0o027:
        what = f"other users may read or change {path} (mode {stat.S_IMODE(status.st_mode):04o})"
        return [fault("credentials-mode", f"{what}: the daemon refuses it", remedy)]
    found = []
    if daemon is not None and not may(status, daemon, 4):
        what = f"the daemon's user {daemon.pw_name} may not read {path}"
        found.append(fault("credentials-owner", what, remedy))
    return found + _check_entries(path, config.keys)


def _check_entries(path: str, host: Keys) -> list[Finding]:
    from agent.config.document import Problems
    from agent.sources.api import credentials as known

    if not os.access(path, os.R_OK):
        return [unknown("credentials-unreadable", f"{path}: you may not read it")]
    try:
        entries = known.load(path, host)
    except Problems as problems:
        remedy = f"fix it: the daemon keeps the previous file, but does not start again: {path}"
        return [fault("credentials-wrong", what, remedy) for what in problems.problems]
    if not len(entries):
        add = "sixtykey credentials add --user USER"
        return [note("credentials-none", f"{path} has no access key: nobody can push", add)]
    return [*_expiring(entries, time.time()), *_unusable(entries)]


def _expiring(entries: Iterable[Credential], now: float) -> Iterator[Finding]:
    """Credentials that have expired at `now` (wall clock, s), or will within _SOON."""
    for entry in entries:
        if not entry.enabled or entry.expires is None or entry.expires > now + _SOON:
            continue
        name, when = entry.access_key_id, time.strftime("%Y-%m-%d", time.gmtime(entry.expires))
        renew = f"set a later `expires`, or remove it: sixtykey credentials remove {name}"
        if entry.expires <= now:
            what = f"the access key {name} expired on {when}: its pushes are refused"
            yield fault("credentials-expired", what, renew)
        else:
            what = f"the access key {name} expires on {when}"
            yield note("credentials-expire-soon", what, renew)


def _unusable(entries: Iterable[Credential]) -> Iterator[Finding]:
    for entry in entries:
        if entry.allow.tags:
            what = (
                f"the access key {entry.access_key_id} may push nothing here, since it has "
                "allow.tags"
            )
            yield note(
                "credentials-tags", what, "only a fleet's gateway has tags: remove allow.tags"
            )


def journal(config: Config, daemon: Optional[pwd.struct_passwd]) -> list[Finding]:
    """Check whether the daemon can write the journal. A running daemon reports it itself."""
    if config.journal is None or daemon is None:
        return []
    folder = os.path.dirname(config.journal) or "/"
    path = config.journal if os.path.exists(config.journal) else folder
    try:
        writable = may(os.stat(path), daemon, 2) and may(os.stat(folder), daemon, 3)
        full = not os.statvfs(folder).f_bavail
    except OSError as error:
        return [fault("journal-unwritable", f"{folder}: {error.strerror}", _JOURNAL)]
    if full:
        what = f"the file system of {config.journal} is full: pushes are refused"
        return [fault("journal-full", what, "free space there, or set `journal` to another path")]
    if writable:
        return []
    what = f"the daemon's user {daemon.pw_name} may not write {path}: pushes are refused"
    return [fault("journal-unwritable", what, _JOURNAL)]


_JOURNAL = (
    "systemd-tmpfiles --create sixtykey.conf makes its directory; else let the daemon's user own "
    "it, or set journal to another place (or to none)"
)


def may(status: os.stat_result, user: pwd.struct_passwd, wanted: int) -> bool:
    """Whether the file's mode lets a user read (4), write (2) and search (1) it."""
    if user.pw_uid == 0:
        return True
    if status.st_uid == user.pw_uid:
        return (status.st_mode >> 6) & wanted == wanted
    if status.st_gid in os.getgrouplist(user.pw_name, user.pw_gid):
        return (status.st_mode >> 3) & wanted == wanted
    return status.st_mode & wanted == wanted


def _group(user: pwd.struct_passwd) -> str:
    import grp

    try:
        return grp.getgrgid(user.pw_gid).gr_name
    except KeyError:
        return str(user.pw_gid)
