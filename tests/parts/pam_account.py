"""pam-account compiled as in the packages, and run as PAM's module runs it."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.host.process import read_status
from tests.parts.helper_kinds import FOLDER, SANITIZED, compile_helper, folder

SOURCE = FOLDER / "pam_account.c"
KINDS = ["compiled", "sanitized"]
# The variables that pam_exec.so sets for an ordinary login.
ENVIRONMENT = {
    "PAM_SERVICE": "sshd", "PAM_TYPE": "account", "PAM_USER": "ec2-user", "PAM_TTY": "ssh",
    "PAM_RHOST": "192.0.2.7", "SSH_CONNECTION": "192.0.2.7 40000 192.0.2.1 22",
}  # fmt: skip


@functools.cache
def program_of(kind: str) -> str:
    """The path of a kind of it, which logs below its working directory. Raises MissingToolError."""
    text, syslog = SOURCE.read_text("utf-8"), '#define SYSLOG "/dev/log"\n'
    assert text.count(syslog) == 1
    source = folder() / "pam_account.c"
    source.write_text(text.replace(syslog, '#define SYSLOG "log"\n'), "utf-8")
    program = folder() / f"pam-account-{kind}"
    return str(compile_helper(program, *(SANITIZED if kind == "sanitized" else []), source=source))


@dataclass(frozen=True)
class Verdict:
    """The result of a run; `warnings` are the lines sent to syslog."""

    status: int
    out: bytes
    warnings: list[str]


class PamAccount:
    """One kind of it, with `stub.sock` and the folder `handed` in a test's directory."""

    def __init__(self, directory: Path, kind: str) -> None:
        self.directory = directory
        self.handed = directory / "handed"
        self._program = program_of(kind)
        self._log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._log.bind(str(directory / "log"))
        self._log.setblocking(False)

    def hand_out(self) -> Path:
        """Mark, as the daemon does, that this process was handed a one-time key."""
        self.handed.mkdir(exist_ok=True)
        file = self.handed / str(read_status(os.getpid()).process)
        file.touch()
        return file

    def ask(self, prefix: Sequence[str] = (), **environment: str) -> Verdict:
        """Run it with our socket, and with these changes to sshd's variables."""
        path = str(self.directory / "stub.sock")
        return self.run("--socket", path, prefix=prefix, **environment)

    def run(self, *arguments: str, prefix: Sequence[str] = (), **environment: str) -> Verdict:
        """Run it to its end. `prefix` is a command that executes the one that follows it."""
        done = subprocess.run(
            [*prefix, self._program, *arguments], env={**ENVIRONMENT, **environment},
            cwd=self.directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, check=False, timeout=60,
        )  # fmt: skip
        warnings: list[str] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                warnings.append(self._log.recv(4096).decode("ascii"))
        return Verdict(done.returncode, done.stdout, warnings)

    def close(self) -> None:
        """Close the log."""
        self._log.close()
