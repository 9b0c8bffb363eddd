"""A simulated /proc with sshd's login processes and their children."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from agent.host.process import Process

INIT = Process(1, 1)
# Two logins, and the helper and pam-account of the first.
SSHD, OTHER = Process(700, 4711), Process(701, 4712)
HELPER, PAM_ACCOUNT = 900, 901
OTHER_PAM_ACCOUNT = 902
# With keyboard-interactive: PAM's child of the first login, and pam-account below it.
PAM_CHILD, BELOW_CHILD = Process(703, 4714), 904


class Proc:
    """One sshd process with its helper, and further processes that a test adds."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "proc"
        self.add(INIT, "systemd", parent=0, uid=0)
        self.add(SSHD, "sshd", parent=1, uid=0)
        self.add(OTHER, "sshd-session", parent=1, uid=0)
        self.add(Process(HELPER, 5000), "authorized-keys", parent=SSHD.pid, uid=65534)
        self.add(Process(PAM_ACCOUNT, 5001), "pam-account", parent=SSHD.pid, uid=0)
        self.add(Process(OTHER_PAM_ACCOUNT, 5002), "pam-account", parent=OTHER.pid, uid=0)
        self.add(PAM_CHILD, "sshd", parent=SSHD.pid, uid=0)
        self.add(Process(BELOW_CHILD, 5004), "pam-account", parent=PAM_CHILD.pid, uid=0)

    def add(
        self, process: Process, name: str, parent: int, uid: int, inside: Optional[int] = None
    ) -> None:
        """Add a process; `inside` is its id in the PID namespace of a container."""
        folder = self.root / str(process.pid)
        folder.mkdir(parents=True, exist_ok=True)
        rest = " ".join(["S", str(parent), *(["0"] * 17), str(process.started), "0"])
        (folder / "stat").write_text(f"{process.pid} ({name}) {rest}\n")
        ids = f"NSpid:\t{process.pid}" + ("" if inside is None else f"\t{inside}")
        (folder / "status").write_text(f"Name:\t{name}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n{ids}\n")

    def end(self, process: Process) -> None:
        """Remove a process."""
        for name in ("stat", "status"):
            (self.root / str(process.pid) / name).unlink()
