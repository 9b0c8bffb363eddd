"""The real sixtykeyd-ec2 in a separate process, on the configuration of a running daemon."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any, Optional

from tests.parts.daemon import PATIENCE, RunningDaemon
from tests.parts.ec2_signer import Ec2Signer
from tests.parts.host import helper_group
from tests.parts.source_process import SourceProcess


def ec2_settings(folder: Path, url: str, signer: Ec2Signer) -> dict[str, Any]:
    """The daemon's settings for asking a metadata service."""
    return {
        "source": {"socket": str(folder / "source.sock"), "group": helper_group()},
        "ec2": {"metadata": url, "roots": str(signer.pem("root"))},
    }


class RunningEc2(SourceProcess):
    """`python -m agent.sources.metadata`, connected and healthy inside the `with` block.

    With `well` False it need not reach the metadata.
    """

    module = "agent.sources.metadata"
    log_name = "ec2.log"

    def __init__(
        self,
        daemon: RunningDaemon,
        *,
        environment: Optional[dict[str, str]] = None,
        well: bool = True,
    ) -> None:
        super().__init__(daemon, environment)
        self._well = well

    def begin(self) -> None:
        """Start it, and wait until the daemon asks it."""
        before = self._times_heard()
        self.launch()
        self.wait_until(lambda: self._times_heard() > before)

    def _times_heard(self) -> int:
        said = "source ec2: lookups wait" if self._well else "source ec2 (uid"
        return self.daemon.log().count(said)


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


def find(daemon: RunningDaemon, os_user: str, key: str) -> bytes:
    """The answer to a lookup that gives this key, after as many lookups as it takes.

    A lookup waits half a second for the metadata, which a loaded machine may take longer for. The
    user would try again: what came too late is a lease by then.
    """
    deadline = time.monotonic() + PATIENCE
    while not (answer := lookup(daemon, f"{os_user}\n")).startswith(key.encode()):
        assert time.monotonic() < deadline, f"{answer!r}\n{daemon.log()}"
        time.sleep(0.1)
    return answer
