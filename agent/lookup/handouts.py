"""Records which sshd process was handed which one-time keys.

There is one file per process, named after its id and start time, in a folder that only the daemon's
user can write. The file is written before sshd gets the key, and it outlives the daemon. If it
exists, pam-account refuses the login unless the daemon says yes. Without a file, pam-account does
not ask the daemon.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional

from agent.host.process import Process, ProcessGone, ProcessStatus, is_running, read_status
from agent.leases.lease import Lease

# The folder's name beside the lookup socket; pam_account.c has it too.
FOLDER = "handed"
# The names of OpenSSH's login process: sshd-session since 9.8.
SSHD_NAMES = frozenset({"sshd", "sshd-session"})
_INIT = 1


class NotHandedOut(Exception):
    """A one-time key cannot be handed out to this process; the text says why."""


class Given(NamedTuple):
    """One line that sshd was given: its push, and the options before its key."""

    request_id: str
    pinned_source: Optional[str] = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class HandOut:
    """What one process was handed: by fingerprint, the lines of the key's last lookup.

    `latest` is the key of the last lookup; None when that lookup gave no one-time key. sshd looks
    up the accepted key again just before the login continues, so the latest key is the one used.
    """

    os_user: str
    given: Mapping[str, tuple[Given, ...]] = field(default_factory=dict)
    latest: Optional[str] = None


class HandOuts:
    """The files of all processes that were handed a one-time key."""

    def __init__(self, folder: str, proc: str = "/proc") -> None:
        self._folder = folder
        self._proc = proc
        self._known: set[Process] = set()
        self._opened = False

    @property
    def is_there(self) -> bool:
        """Whether the folder exists. If so, an earlier daemon may have left files in it."""
        return os.path.isdir(self._folder)

    def open(self) -> None:
        """Make the folder if it is missing, and find an earlier daemon's files.

        Raises OSError: no one-time key can be handed out.
        """
        self._check_proc()
        os.makedirs(self._folder, 0o755, exist_ok=True)
        found = os.stat(self._folder)
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise PermissionError(f"{self._folder}: others can write there")
        names = [name.split("-") for name in os.listdir(self._folder)]
        self._known = {Process(int(name[0]), int(name[1])) for name in names if _is_name(name)}
        self._opened = True

    def login_process(self, helper: int) -> Process:
        """The sshd process that runs the helper with this process id.

        Raises NotHandedOut: the parent is not sshd, so it does not run PAM's account phase.
        """
        return self._sshd_ancestors(helper)[0].process

    def login_processes(self, asking: int) -> list[Process]:
        """The sshd processes whose account phase runs this process: its parent and grandparent.

        For keyboard-interactive, sshd runs PAM in a child of the login process.
        Raises NotHandedOut: the parent is not sshd.
        """
        return [status.process for status in self._sshd_ancestors(asking)]

    def _sshd_ancestors(self, child: int) -> list[ProcessStatus]:
        """The parent process, and the grandparent if both are sshd. Raises NotHandedOut."""
        try:
            parent = read_status(read_status(child, self._proc).parent, self._proc)
            grandparent = read_status(parent.parent, self._proc) if parent.parent else parent
        except (ProcessGone, OSError) as error:
            raise NotHandedOut(str(error)) from None
        if not _is_sshd(parent):
            raise NotHandedOut(
                f"the helper was run by {parent.name[:32]!r}: for one-time keys sshd must run it "
                "itself, as AuthorizedKeysCommand"
            )
        if parent.contained:
            # pam-account would look for a file with the id that its process has in there.
            raise NotHandedOut("the helper was run by an sshd in another PID namespace (container)")
        if grandparent is parent or not _is_sshd(grandparent):
            return [parent]
        return [parent, grandparent]

    def record(self, process: Process, leases: Iterable[Lease]) -> None:
        """Record, before sshd gets them, that a process is handed these leases of one key.

        Raises NotHandedOut: the record cannot be written, so sshd must not get the leases.
        """
        handed = list(leases)
        os_user, key = handed[0].os_user, handed[0].key.fingerprint
        try:
            if not self._opened:
                self.open()
            before = self.read(process)
            kept = dict(before.given) if before is not None and before.os_user == os_user else {}
            kept[key] = tuple(Given(e.request_id, e.pinned_source, e.options) for e in handed)
            self._write(process, HandOut(os_user, kept, key))
        except (OSError, ValueError) as error:
            raise NotHandedOut(f"it cannot be recorded: {error}") from None
        self._known.add(process)

    def record_other(self, helper: int) -> None:
        """Record that the latest lookup gave no one-time key: the login uses no earlier one.

        Nothing is done while no process has a one-time key.
        """
        if not self._known:
            return
        try:
            process = self.login_process(helper)
            before = self.read(process) if process in self._known else None
            if before is not None:
                self._write(process, HandOut(before.os_user, before.given, None))
        except (NotHandedOut, OSError, ValueError):
            return  # the file stays, so the login still needs a yes for the key that it names

    def read(self, process: Process) -> Optional[HandOut]:
        """What a process was handed; None when it was handed nothing.

        Raises OSError or ValueError: the file exists but cannot be read.
        """
        try:
            with open(self._path(process), encoding="utf-8") as file:
                document: Any = json.load(file)
        except FileNotFoundError:
            return None
        try:
            given = {
                str(key): tuple(Given(id_, pin, tuple(options)) for id_, pin, options in lines)
                for key, lines in document["given"].items()
            }
            latest = document["latest"]
            hand_out = HandOut(
                str(document["os_user"]), given, None if latest is None else str(latest)
            )
        except (TypeError, KeyError, AttributeError):
            raise ValueError(f"{process} is not a record of this program") from None
        if latest is not None and latest not in given:
            raise ValueError(f"{process} is not a record of this program")
        return hand_out

    def tend(self) -> None:
        """Remove the files of processes that are known to have ended."""
        for process in list(self._known):
            with suppress(OSError):  # unknown whether it has ended: the login may still go on
                if is_running(process, self._proc):
                    continue
                with suppress(FileNotFoundError):
                    os.unlink(self._path(process))
                self._known.discard(process)

    def _check_proc(self) -> None:
        """Raise PermissionError if other users' processes are hidden: they would seem to be gone.

        ProtectProc= in the unit and hidepid= of /proc hide them (proc(5)).
        """
        try:
            read_status(_INIT, self._proc)
        except (ProcessGone, PermissionError):
            raise PermissionError(
                f"{self._proc} hides other users' processes from this one (ProtectProc= in the "
                "unit, or hidepid= where it is mounted), so nobody can tell whose login it is"
            ) from None

    def _write(self, process: Process, hand_out: HandOut) -> None:
        path = self._path(process)
        document = {
            "os_user": hand_out.os_user,
            "given": {key: [list(line) for line in lines] for key, lines in hand_out.given.items()},
            "latest": hand_out.latest,
        }
        # Replace the file atomically: pam-account must find the name from the first record on.
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            json.dump(document, file)
        os.replace(f"{path}.new", path)

    def _path(self, process: Process) -> str:
        return os.path.join(self._folder, str(process))


def _is_sshd(status: ProcessStatus) -> bool:
    return status.real_uid == 0 and status.name in SSHD_NAMES


def _is_name(parts: list[str]) -> bool:
    return len(parts) == 2 and all(part.isascii() and part.isdigit() for part in parts)
