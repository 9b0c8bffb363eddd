"""The real sixtykeyd-ec2 in a separate process, on the configuration of a running daemon."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Optional

from tests.parts.daemon import PATIENCE, RunningDaemon
from tests.parts.ec2_signer import Ec2Signer
from tests.parts.host import ROOT, helper_group
from tests.parts.part import Part


def ec2_settings(folder: Path, url: str, signer: Ec2Signer) -> dict[str, Any]:
    """The daemon's settings for asking a metadata service."""
    return {
        "source": {"socket": str(folder / "source.sock"), "group": helper_group()},
        "ec2": {"metadata": url, "roots": str(signer.pem("root"))},
    }


class RunningEc2(Part):
    """`python -m agent.sources.metadata`, connected and healthy inside the `with` block.

    `environment` is added to its own. With `well` False it need not reach the metadata.
    """

    def __init__(
        self,
        daemon: RunningDaemon,
        *,
        environment: Optional[dict[str, str]] = None,
        well: bool = True,
    ) -> None:
        self.daemon = daemon
        self.process: Optional[subprocess.Popen[bytes]] = None
        self._environment = environment or {}
        self._well = well
        self._log_file = daemon.directory / "ec2.log"

    def begin(self) -> None:
        """Start it, and wait until the daemon asks it."""
        before = self._times_heard()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **self._environment}
        command = [sys.executable, "-m", "agent.sources.metadata", "--config"]
        with self._log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, str(self.daemon.config_file)],
                cwd=self.daemon.directory, env=environment, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + PATIENCE
        while self._times_heard() == before:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"sixtykeyd-ec2 is not connected: {self.log()}")
            time.sleep(0.02)

    def _times_heard(self) -> int:
        said = "source ec2: lookups wait" if self._well else "source ec2 (uid"
        return self.daemon.log().count(said)

    def finish(self) -> None:
        """Stop it with SIGTERM, if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def log(self) -> str:
        """Its stderr so far."""
        return self._log_file.read_text("utf-8", errors="replace").strip()


def lookup(daemon: RunningDaemon, line: str) -> bytes:
    """The lookup socket's raw answer to a line."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(daemon.lookup_socket)
        sock.sendall(line.encode())
        answer = b""
        while chunk := sock.recv(65536):
            answer += chunk
    return answer
