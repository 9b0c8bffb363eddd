"""Checks the daemon and its two sockets, each as the user who needs it."""

from __future__ import annotations

import grp
import os
import pwd
import socket
from typing import Any, Optional

from agent.client.trouble import FORBIDDEN, Trouble
from agent.commands.checks.finding import Finding, fault, note, unknown
from agent.config.settings import Config

_PATIENCE = 2.0
_RUNNING = "systemctl status sixtykeyd sixtykeyd-lookup.socket; journalctl -u sixtykeyd says why"
# The probe process's exit code if the daemon does not answer in time.
_SLOW = 200


def status_of(daemon: Any) -> tuple[Optional[dict[str, Any]], list[Finding]]:
    """The daemon's own status, or the reason why there is none."""
    try:
        status = daemon.ask("Sixtykey.Status")
    except Trouble as trouble:
        if trouble.exit_code == FORBIDDEN:
            return None, [unknown("push-socket", trouble.words)]
        return None, [fault("daemon-away", trouble.words, _RUNNING)]
    problem = status["Journal"]["Problem"]
    if problem:
        remedy = "journalctl -u sixtykeyd says why; live keys are still served, pushes are refused"
        return status, [fault("journal-unusable", f"the daemon cannot journal: {problem}", remedy)]
    return status, []


def lookup_socket(path: str, user: pwd.struct_passwd) -> list[Finding]:
    """Check whether sshd's helper, running as `user`, gets answers at the lookup socket."""
    if os.geteuid() not in {0, user.pw_uid}:
        return [unknown("lookup-socket", f"whether {user.pw_name} reaches {path}")]
    code = _probe(path, user)
    if code == 0:
        return []
    if code in {1, 13}:  # EPERM, EACCES
        return [
            fault(
                "lookup-socket-forbidden",
                f"{user.pw_name}, the user that runs the helper, may not use {path}",
                f"its group must be one of {user.pw_name}'s: lookup.group of the configuration, "
                "usually sixtykey-lookup, as is AuthorizedKeysCommandUser",
            )
        ]
    why = f"no answer within {_PATIENCE:.0f} s" if code == _SLOW else os.strerror(code)
    what = f"the daemon does not answer sshd's helper at {path}: {why}"
    return [fault("lookup-socket-away", what, _RUNNING)]


def _probe(path: str, user: pwd.struct_passwd) -> int:
    """Connect in a process of that user; returns an errno, or 0. It sends no countable lookup."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 255
    try:
        if os.geteuid() == 0:
            os.setgroups(os.getgrouplist(user.pw_name, user.pw_gid))
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(_PATIENCE)
            sock.connect(path)
            # An empty line is not a lookup: a running daemon closes the connection at once.
            sock.sendall(b"\n")
            sock.recv(1)
        code = 0
    except ConnectionResetError:
        code = 0
    except socket.timeout:
        code = _SLOW
    except OSError as error:
        code = error.errno or 255
    finally:
        os._exit(code)


def push_group(config: Config) -> list[Finding]:
    """List who may push for every user: nobody should be in that group by accident."""
    name = config.push.group
    try:
        group = grp.getgrnam(name)
    except KeyError:
        remedy = f"groupadd --system {name}, then restart sixtykeyd; or set push.group"
        what = f"there is no group {name} (push.group): only root may push on this host"
        return [note("push-group-missing", what, remedy)]
    members = {*group.gr_mem, *(e.pw_name for e in pwd.getpwall() if e.pw_gid == group.gr_gid)}
    members -= {"root"}
    if not members:
        return []
    listed = ", ".join(sorted(members))
    return [
        note(
            "push-group-members",
            f"{listed}: in the group {name}, and so equivalent to root: may push for every user",
            f"if that is not intended: gpasswd --delete USER {name}",
        )
    ]
