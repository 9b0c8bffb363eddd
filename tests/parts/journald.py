"""A real systemd-journald with a separate /run and /var/log, which are removed afterwards."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Optional

from tests.parts.host import MissingToolError, tool
from tests.parts.part import Part
from tests.parts.waiting import wait_until

_JOURNALD = "/lib/systemd/systemd-journald"
PATIENCE = 30.0
"""Seconds to wait for journald to listen."""

_BEGIN = """
set -e
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/log
echo 5e9a1c0f7b3d4e2f8a6c1d0b9e7f3a25 >/run/machine-id
mount --bind /run/machine-id /etc/machine-id
mkdir -p /var/log/journal/5e9a1c0f7b3d4e2f8a6c1d0b9e7f3a25 /run/systemd/journald.conf.d
echo "[Journal]
Storage=persistent
ReadKMsg=no
Audit=no
ForwardToSyslog=no
$1" >/run/systemd/journald.conf.d/test.conf
if [ "$2" ]; then
    journalctl --setup-keys --interval="$2" --quiet >/run/verify-key
fi
: >/run/journald-of-a-test
exec "$3"
"""


class Journald(Part):
    """A journald with these settings; with an `interval` (as 10s) it seals at that interval."""

    def __init__(self, *settings: str, interval: str = "") -> None:
        self._settings = "\n".join(settings)
        self._interval = interval
        self._process: Optional[subprocess.Popen[bytes]] = None

    def begin(self) -> None:
        """Start it. Raises MissingToolError, and RuntimeError when it does not listen."""
        if not Path(_JOURNALD).exists():
            raise MissingToolError(f"{_JOURNALD} is missing: install systemd")
        command = [tool("unshare", "util-linux"), "--mount", "--propagation", "private"]
        command += ["sh", "-c", _BEGIN, "sh", self._settings, self._interval, _JOURNALD]
        process = self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        # The mark comes first, because the host's own journald may have been there before.
        mark, socket = (
            self.path(f"run/{n}") for n in ("journald-of-a-test", "systemd/journal/stdout")
        )
        wait_until(
            lambda: mark.exists() and socket.is_socket(),
            lambda: f"journald does not listen (exit {process.poll()})",
            gone=lambda: process.poll() is not None,
        )
        # Move the journal from /run, where it starts, to /var/log, where it is sealed.
        self.run("journalctl", "--flush")

    def finish(self) -> None:
        """End it; its files are removed with its namespace."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    @property
    def inside(self) -> list[str]:
        """The prefix of a command that runs in journald's namespace."""
        assert self._process is not None
        return [tool("nsenter", "util-linux"), "-t", str(self._process.pid), "-m", "--"]

    def catching(self, name: str) -> list[str]:
        """The prefix of a command whose stdout and stderr this journald reads, under a name."""
        return [*self.inside, tool("systemd-cat", "systemd"), "-t", name]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in journald's namespace."""
        return subprocess.run(
            [*self.inside, *command], capture_output=True, text=True, check=False, timeout=PATIENCE
        )

    def path(self, name: str) -> Path:
        """A file as this journald sees it."""
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}/root/{name}")
