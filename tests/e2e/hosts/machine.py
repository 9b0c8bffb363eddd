"""A booted host: systemd-nspawn on a root directory, commands inside, and its logs.

As reference/practice.md found: with --register=no it needs no machined, and Debian 13's systemd
needs a setting to accept the legacy cgroup hierarchy of the surrounding machine.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from pathlib import Path
from typing import Any, Optional

from tests.parts.part import Part

_BOOT_SECONDS = 60.0
# Enters the control groups named before "--", then becomes the command after it.
_ENTER = 'while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs"; shift; done; shift; exec "$@"'
# Where systemd keeps its own hierarchies, on the legacy, hybrid and unified kinds of machine.
_HIERARCHIES = ("systemd", "unified", ".")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


# For a host whose systemd holds units to IPAddressAllow=: by BPF, on the unified hierarchy alone.
_FIREWALL = ["--capability=CAP_BPF", "--system-call-filter=bpf"]


class Machine(Part):
    """One host, from its root directory to power off.

    With `firewall` its systemd can restrict the addresses that a unit can reach.
    """

    def __init__(self, name: str, root: Path, firewall: bool = False) -> None:
        self.name = name
        self.root = root
        self._firewall = firewall
        self.console = root.parent / f"{name}.console"
        self._process: Optional[subprocess.Popen[bytes]] = None
        self.pid = 0
        self._groups: list[Path] = []

    def begin(self) -> None:
        """Boot it. Raises TimeoutError, with its console printed."""
        began = time.monotonic()
        command = ["sh", "-euc", _ENTER, "sh", *self._own_groups(), "--"]
        command += ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit"]
        command += ["--private-network", "--resolv-conf=off", "--link-journal=no"]
        command += [f"--machine={self.name}"]
        command += _FIREWALL if self._firewall else []
        command += ["--boot", "-D", str(self.root), "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"]
        unified = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"} if self._firewall else {}
        with open(self.console, "wb") as console:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                env={**os.environ, **unified},
            )  # fmt: skip
        try:
            while self._running() not in {"running", "degraded"}:
                if time.monotonic() - began > _BOOT_SECONDS or self._process.poll() is not None:
                    raise TimeoutError(f"{self.name} does not boot: {self._running()}")
                time.sleep(0.1)
        except BaseException:
            self._kill()
            print(self.console.read_text(errors="replace")[-6000:])
            raise
        self.boot_seconds = time.monotonic() - began

    def finish(self) -> None:
        """Power it off; kill it if it has not booted."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(subprocess.SubprocessError):
                self.run("systemctl", "poweroff", check=False)
        self._kill(after=20.0)

    def _own_groups(self) -> list[str]:
        """Make this host's own control groups.

        Hosts that begin in one group share all groups below it: one host's systemd then removes
        a service's group while another starts the service there (exit 219/CGROUP).
        """
        for hierarchy in _HIERARCHIES:
            parent = Path("/sys/fs/cgroup") / hierarchy
            if (parent / "cgroup.procs").exists():
                group = parent / f"sixtykey-e2e-{os.getpid()}-{self.name}"
                group.mkdir()
                self._groups.append(group)
        return [str(group) for group in self._groups]

    def _kill(self, after: float = 0.0) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(after)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        for group in self._groups:
            for folder, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)

    def _running(self) -> str:
        """The state that its systemd reports; empty when it does not run yet."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
            for child in children.read_text().split():
                if "systemd" in Path(f"/proc/{child}/comm").read_text():
                    self.pid = int(child)
                    return self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return ""

    def command(self, *command: str, user: str = "") -> list[str]:
        """The command line, as run from this machine, that runs `command` on the host."""
        inside = ["nsenter", "-t", str(self.pid), "-a", "env", "-i", "--chdir=/"]
        inside += [f"PATH={PATH}", "LANG=C.UTF-8", "HOME=/root", "DEBIAN_FRONTEND=noninteractive"]
        if user:
            inside += ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        return [*inside, *command]

    def run(
        self, *command: str, user: str = "", check: bool = True, text: str = "", limit: float = 180
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the host, as root or as `user`; `text` is its standard input.

        Raises:
            AssertionError: it failed, and `check` is set; with all that it printed.
        """
        done = subprocess.run(
            self.command(*command, user=user),
            input=text, capture_output=True, text=True, timeout=limit, check=False,
        )  # fmt: skip
        if check and done.returncode:
            said = (done.stdout + done.stderr)[-4000:]
            raise AssertionError(f"{' '.join(command)[:300]}: exit {done.returncode}\n{said}")
        return done

    def shell(self, script: str, **options: Any) -> str:
        """The output of a shell script on the host."""
        return self.run("sh", "-euc", script, **options).stdout.strip()

    def start(self, *command: str, user: str = "") -> subprocess.Popen[str]:
        """Start a command on the host and leave it running; the caller ends it."""
        return subprocess.Popen(
            self.command(*command, user=user),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def write(self, path: str, content: str, mode: int = 0o644) -> None:
        """Write a file of the host."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
        target.chmod(mode)

    def logs(self) -> str:
        """What to look at after a failure: failed units, and the end of the services' logs."""
        return self.run(
            "sh", "-c",
            "systemctl --failed --no-pager; systemctl status --no-pager 'sixtykeyd*'; "
            "journalctl --no-pager -u 'sixtykeyd*' | grep -v '\"lookup\"' | tail -60; "
            "journalctl --no-pager -n 40 -u ssh; ls -la /run/sixtykey /etc/sixtykey",
            check=False,
        ).stdout  # fmt: skip
