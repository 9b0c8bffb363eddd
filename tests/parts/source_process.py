"""A source's process beside its daemon, which it connects to: the base class of all of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Callable, Optional

from tests.parts.daemon import PATIENCE, RunningDaemon
from tests.parts.host import ROOT
from tests.parts.part import Part
from tests.parts.waiting import wait_until


class SourceProcess(Part):
    """`python -m MODULE` on a daemon's configuration.

    `environment` is added to its own; `prefix` is a command that executes the one that follows it.
    """

    module = ""
    log_name = ""

    def __init__(
        self,
        daemon: RunningDaemon,
        environment: Optional[Mapping[str, str]] = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self.daemon = daemon
        self.process: Optional[subprocess.Popen[bytes]] = None
        self._environment = environment or {}
        self._prefix = list(prefix)
        self._log_file = daemon.directory / self.log_name

    def launch(self) -> None:
        """Start it."""
        words = [sys.executable, "-m", self.module, "--config", str(self.daemon.config_file)]
        with self._log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._prefix, *words],
                cwd=self.daemon.directory,
                env={**os.environ, "PYTHONPATH": str(ROOT), **self._environment},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait for it; RuntimeError if it ends before, or takes too long."""
        process = self.process
        assert process is not None
        wait_until(
            ready,
            lambda: f"{self.module} is not ready: {self.log()}",
            gone=lambda: process.poll() is not None,
        )

    def kill(self) -> None:
        """Send SIGKILL, as in a crash."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(PATIENCE)

    def finish(self) -> None:
        """Stop it with SIGTERM, if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()

    def log(self) -> str:
        """Its stderr so far."""
        return self._log_file.read_text("utf-8", errors="replace").strip()
