"""A lookup socket with answers chosen by a test, and the helper changed to log elsewhere."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from tests.parts.helper_kinds import command_of
from tests.parts.part import Part

Behaviour = Callable[[socket.socket], None]

SSHD_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "USER": "ec2-user", "LOGNAME": "ec2-user", "HOME": "/"}
"""What sshd gives to its AuthorizedKeysCommand, where the host has no LANG."""


def answering(lines: bytes) -> Behaviour:
    """Return a behaviour that sends these lines and the end mark, and closes."""
    return sending(lines + b"\n")


def sending(data: bytes) -> Behaviour:
    """Return a behaviour that sends just these bytes and closes."""
    return lambda connection: connection.sendall(data)


class StubLookup(Part):
    """Listens inside the `with` block; stores each connection's request, then calls `behave`.

    `behave` None: it closes without reading. The connection is closed when `behave` returns.
    """

    def __init__(self, directory: Path, behave: Optional[Behaviour]) -> None:
        self.path = str(directory / "stub.sock")
        self.asked: list[bytes] = []
        self.over = threading.Event()
        self._behave = behave
        self._listener = socket.socket(socket.AF_UNIX)
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            # A helper that gives up closes the connection, which these tests expect.
            with connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                if self.over.is_set():
                    return
                if self._behave is not None:
                    self.asked.append(connection.recv(4096))
                    self._behave(connection)

    def begin(self) -> None:
        """Listen."""
        self._listener.bind(self.path)
        self._listener.listen()
        self._thread.start()

    def finish(self) -> None:
        """End what `behave` waits for, and the thread."""
        self.over.set()
        with socket.socket(socket.AF_UNIX) as waker:
            waker.connect(self.path)
        self._thread.join()
        self._listener.close()
        os.unlink(self.path)


@dataclass(frozen=True)
class Ran:
    """The result of a run of the helper; `warnings` are the datagrams sent to syslog."""

    status: int
    out: bytes
    err: bytes
    warnings: list[bytes]


class Helper:
    """A kind of the helper, each run in a new process; it logs to this directory."""

    def __init__(self, directory: Path, kind: str = "python") -> None:
        self.kind = kind
        self.directory = directory
        self._command = command_of(kind)
        self._log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._log.bind(str(directory / "log"))
        self._log.setblocking(False)

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of a run, whose working directory must be `directory`."""
        return [*self._command, *arguments]

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a run; the caller reads its stdout."""
        return subprocess.Popen(
            self.command(*arguments), env=SSHD_ENVIRONMENT, cwd=self.directory,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        )  # fmt: skip

    def warnings(self) -> Iterator[bytes]:
        """Yield the datagrams that arrived since the last call."""
        with contextlib.suppress(BlockingIOError):
            while True:
                yield self._log.recv(4096)

    def run(self, *arguments: str, prefix: Sequence[str] = ()) -> Ran:
        """Run it as sshd does, until all processes have closed its stdout; TimeoutExpired if never.

        `prefix` is a command that executes the one that follows it.
        """
        # stderr is no pipe, as it is none under sshd: what a chain leaves behind may hold it.
        with tempfile.TemporaryFile() as err:
            done = subprocess.run(
                [*prefix, *self.command(*arguments)], env=SSHD_ENVIRONMENT, cwd=self.directory,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err, check=False,
                timeout=60,
            )  # fmt: skip
            err.seek(0)
            return Ran(done.returncode, done.stdout, err.read(), list(self.warnings()))

    def close(self) -> None:
        """Close the log."""
        self._log.close()
