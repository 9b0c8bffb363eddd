"""A temporary sshd on loopback that asks the real helper for keys."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Callable, Optional

from tests.parts.helper_kinds import compile_helper
from tests.parts.host import IS_ROOT, ROOT, MissingToolError, free_port, helper_user, tool
from tests.parts.keys import KeyPair, make_key
from tests.parts.part import Part
from tests.parts.ssh import CLIENTS, Login

HELPER = ROOT / "agent" / "helper" / "authorized_keys.py"
LAUNCHER = ROOT / "packaging" / "launchers" / "authorized-keys-python"
Install = Callable[[Path], Path]
"""Puts a helper into a folder; returns the path that sshd is to run."""

PATIENCE = 20.0
"""Seconds to wait for sshd to listen before that is called a failure."""


@contextlib.contextmanager
def helper_command(install: Optional[Install] = None) -> Iterator[str]:
    """Yield the command by which sshd runs the helper, without its arguments.

    sshd runs a command only if root alone can change it and the folders above it. So root installs
    a copy as a package would; an ordinary user uses the system's Python, which is root's. Raises
    MissingToolError for an ordinary user who wants another helper than that.
    """
    if not IS_ROOT:
        if install is not None:
            raise MissingToolError("a helper that is root's is missing: run this as root")
        yield f"/usr/bin/python3 -I -S {HELPER}"
        return
    folder = Path(tempfile.mkdtemp(prefix="sixtykey-helper-", dir="/var/lib"))
    try:
        folder.chmod(0o755)
        yield str((install or install_helper)(folder))
    finally:
        shutil.rmtree(folder)


def install_helper(folder: Path, python: str = "/usr/bin/python3", module: Path = HELPER) -> Path:
    """Install the helper in `folder` as a package does, with byte code; return its path."""
    (folder / "agent" / "helper").mkdir(parents=True)
    copy = shutil.copy(module, folder / "agent" / "helper")
    subprocess.run([python, "-m", "py_compile", copy], check=True, timeout=60)
    helper = Path(shutil.copy(LAUNCHER, folder))
    helper.chmod(0o755)
    return helper


def install_compiled(folder: Path) -> Path:
    """Compile the helper into `folder`; return its path."""
    return compile_helper(folder / "authorized-keys", "-s")


def sshd_version(sshd: str) -> tuple[int, int]:
    """Return OpenSSH's version, as (9, 2)."""
    # sshd has no -V before 9.2, but every one says its version when it does not know an option.
    done = subprocess.run([sshd, "-V"], capture_output=True, text=True, check=False, timeout=20)
    found = re.search(r"OpenSSH_(\d+)\.(\d+)", done.stderr + done.stdout)
    if found is None:
        raise RuntimeError(f"{sshd} -V: {done.stderr}")
    return int(found[1]), int(found[2])


class RunningSshd(Part):
    """sshd on 127.0.0.1, listening inside the `with` block, for keys from the daemon.

    `settings` are lines of sshd_config that precede, and so override, those below; `prefix` is a
    command that runs sshd. Without `lookup_socket` there is no AuthorizedKeysCommand; `install`
    installs one, by default the helper in Python. Raises RuntimeError with sshd's log when it does
    not listen.
    """

    def __init__(
        self,
        directory: Path,
        lookup_socket: Optional[str],
        *,
        settings: Sequence[str] = (),
        prefix: Sequence[str] = (),
        install: Optional[Install] = None,
    ) -> None:
        self.directory = directory
        self.lookup_socket = lookup_socket
        self.port = 0
        self.known_hosts = directory / "known_hosts"
        self._settings = list(settings)
        self._prefix = list(prefix)
        self._install = install
        self._sshd = tool("sshd", "openssh-server")
        self._log_file = directory / "sshd.log"
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._helper = contextlib.ExitStack()

    def _config(self, host_key: KeyPair, helper: Optional[str]) -> str:
        lines = [
            *self._settings,
            "ListenAddress 127.0.0.1",
            f"Port {self.port}",
            f"HostKey {host_key.private}",
            "PidFile none",
            "UsePAM no",
            "PubkeyAuthentication yes",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "AuthorizedKeysFile none",
            "LogLevel VERBOSE",
            "MaxStartups 500",
            "MaxAuthTries 20",
            "PrintLastLog no",
            "PrintMotd no",
        ]
        if sshd_version(self._sshd) >= (9, 8):
            # A test's refused logins must not shut out the logins after them.
            lines.append("PerSourcePenalties no")
        if helper is not None:
            lines += [
                f"AuthorizedKeysCommand {helper} --socket {self.lookup_socket} %u %f",
                f"AuthorizedKeysCommandUser {helper_user()}",
            ]
        return "\n".join(lines) + "\n"

    def start(self) -> None:
        """Start sshd and wait until it listens."""
        if IS_ROOT:
            # systemd or the init script makes it, where there is one. It stays: others use it.
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        helper = None
        if self.lookup_socket:
            helper = self._helper.enter_context(helper_command(self._install))
        host_key = make_key(self.directory, "host_key")
        for attempt in range(5):
            self.port = free_port()
            config = self.directory / "sshd_config"
            config.write_text(self._config(host_key, helper))
            self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {host_key.line}\n")
            with self._log_file.open("wb") as log:
                self._process = subprocess.Popen(
                    [*self._prefix, self._sshd, "-D", "-e", "-f", str(config)],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                )  # fmt: skip
            if self._listens():
                return
            self._end()
            # Another process may have taken the port since it was found free.
            if attempt == 4 or "in use" not in self.log():
                raise RuntimeError(f"sshd does not listen: {self.log()}")

    def _listens(self) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if f"Server listening on 127.0.0.1 port {self.port}." in self.log():
                return True
            if self._process.poll() is not None:
                return False
            time.sleep(0.01)
        return False

    def _end(self) -> None:
        if self._process is None:
            return
        # Signal the process group: each open connection has a separate process.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def stop(self) -> None:
        """Stop sshd and remove the installed helper."""
        try:
            self._end()
        finally:
            self._helper.close()

    def login(self, user: str, key: KeyPair, client: str = "ssh") -> Login:
        """Try to log in as `user` with this key alone; `client` is "ssh" or "paramiko"."""
        return CLIENTS[client](self.port, user, key, self.known_hosts)

    def log(self) -> str:
        """Return what sshd has written to its log so far."""
        return self._log_file.read_text("utf-8", errors="replace")

    def begin(self) -> None:
        """Start sshd."""
        self.start()

    def finish(self) -> None:
        """Stop sshd."""
        self.stop()
