"""The operator's command, run as this or another user, with a terminal or without."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import pwd
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any, Optional

import yaml

from tests.parts.host import ROOT, work_directory
from tests.parts.part import Part

PATIENCE = 30.0
"""Seconds for a command to say what is waited for."""

_MAIN = "import sys; sys.path.insert(0, {path!r}); from agent.cli import main; sys.exit(main())"


class Done:
    """A command's output and exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        """The output parsed as JSON, for --json."""
        return json.loads(self.out)

    def __repr__(self) -> str:
        return f"exit {self.code}\n{self.out}\n{self.err}"


def run(*words: str, text: str = "", home: Optional[Path] = None) -> Done:
    """Run `sixtykey WORDS` as this user, without a terminal."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(home or "/dev/null/nowhere")}
    done = subprocess.run(
        [sys.executable, "-m", "agent.cli", *words],
        env=environment, input=text, capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


def run_as(user: str, *words: str, group: Optional[str] = None) -> Done:
    """Run it as another user (needs root), with the system's Python and a readable copy."""
    entry = pwd.getpwnam(user)
    with work_directory() as folder:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "agent", folder / "agent", ignore=ignored)
        # The system's Python may have no PyYAML, and ours may be unreadable for other users.
        shutil.copytree(Path(yaml.__file__).parent, folder / "yaml", ignore=ignored)
        done = subprocess.run(
            ["/usr/bin/python3", "-I", "-S", "-c", _MAIN.format(path=str(folder)), *words],
            env={"PATH": "/usr/bin:/bin"}, stdin=subprocess.DEVNULL, cwd="/",
            capture_output=True, text=True, check=False, timeout=PATIENCE,
            user=entry.pw_uid, group=group or entry.pw_gid, extra_groups=[],
        )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


class InTerminal(Part):
    """The command on a new pseudo-terminal; `seen` is all of its output."""

    def __init__(self, *words: str, lines: int = 24, columns: int = 150) -> None:
        self._words = words
        self._size = (lines, columns)
        self._master = -1
        self.seen = ""
        self.process: Optional[subprocess.Popen[bytes]] = None

    def begin(self) -> None:
        """Start the command."""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", *self._size, 0, 0))
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
        environment["PYTHONIOENCODING"] = "utf-8"

        # ^C reaches whoever has the terminal as his own, which takes a system call in the child.
        # ^C must arrive also if the tests run in the background, where SIGINT is ignored.
        own = "import fcntl, os, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
        own += "signal.signal(signal.SIGINT, signal.SIG_DFL); "
        own += "os.execv(sys.argv[1], sys.argv[1:])"
        command = [sys.executable, "-c", own, sys.executable, "-m", "agent.cli", *self._words]
        self.process = subprocess.Popen(
            command, env=environment, stdin=slave, stdout=slave, stderr=slave,
            start_new_session=True,
        )  # fmt: skip
        os.close(slave)

    def read(self, seconds: float) -> str:
        """Read the output of that time, and add it to `seen`."""
        new, end = b"", time.monotonic() + seconds
        while time.monotonic() < end:
            if not select.select([self._master], [], [], 0.05)[0]:
                continue
            try:
                chunk = os.read(self._master, 65536)
            except OSError:  # EIO: the other end is closed.
                break
            new += chunk
        text = new.decode("utf-8", "replace")
        self.seen += text
        return text

    def wait_for(self, text: str) -> None:
        """Wait until the output contains that; RuntimeError if it never does."""
        end = time.monotonic() + PATIENCE
        while text not in self.seen:
            if time.monotonic() > end:
                raise RuntimeError(f"{text!r} does not come: {self.seen!r}")
            self.read(0.1)

    def press(self, keys: str) -> None:
        """Type characters; ^C is the character 3."""
        os.write(self._master, keys.encode())

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command."""
        assert self.process is not None
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for the end; return the exit code."""
        assert self.process is not None
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < end:
            self.read(0.05)
        code = self.process.wait(1)
        self.read(0.05)
        return code

    def finish(self) -> None:
        """Kill the command if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)
