"""A user's machine: a home, an ssh-agent or none, and the real sixtykey and ssh."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from tests.parts.command import Done
from tests.parts.daemon import CREDENTIAL
from tests.parts.host import ROOT, tool
from tests.parts.part import Part
from tests.parts.sshd import RunningSshd

MEMORY = "/dev/shm"
"""A tmpfs on every Linux (shm_overview(7))."""
PATIENCE = 60.0
"""Seconds for one command."""


class User(Part):
    """A user who wants to log in: `home`, a clean environment, and `config` for ssh -F.

    `agent` starts an ssh-agent. `environment` is added. Files are written only below `home` and
    `run_folder`, which stands for the tmpfs of a session.
    """

    def __init__(
        self,
        folder: Path,
        *,
        agent: bool = True,
        environment: Optional[Mapping[str, str]] = None,
        runtime: bool = True,
        socket: str = "agent.sock",
    ) -> None:
        self.home = folder / "home"
        self.home.mkdir(mode=0o700)
        self.run_folder = Path(tempfile.mkdtemp(prefix="sixtykey-run-", dir=MEMORY))
        self.folder = self.home / ".config" / "sixtykey"
        self.config = self.home / "ssh_config"
        self._socket = folder / socket
        self._wants_agent = agent
        self._process: Optional[subprocess.Popen[bytes]] = None
        self.environment = {
            "PATH": f"{Path(tool('sixtykey', 'sixtykey')).parent}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": str(self.home / "aws-config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.home / "aws-credentials"),
            "AWS_ACCESS_KEY_ID": CREDENTIAL["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": CREDENTIAL["secret_access_key"],
            **({"XDG_RUNTIME_DIR": str(self.run_folder)} if runtime else {}),
            **({"SSH_AUTH_SOCK": str(self._socket)} if agent else {}),
            **(environment or {}),
        }

    def begin(self) -> None:
        """Start the agent, and wait until it listens."""
        if not self._wants_agent:
            return
        self._process = subprocess.Popen(
            [tool("ssh-agent", "openssh-client"), "-D", "-a", str(self._socket)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + PATIENCE
        while not self._listens():
            assert time.monotonic() < deadline, "ssh-agent does not listen"
            time.sleep(0.01)

    def _listens(self) -> bool:
        """Whether the agent can be connected to; its socket is there a moment before."""
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(str(self._socket))
            except OSError:
                return False
        return True

    def finish(self) -> None:
        """Log out, as at the end of a session, and end the agent."""
        self.sixtykey("logout")
        shutil.rmtree(self.run_folder)
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(PATIENCE)

    def settings(self, document: Mapping[str, Any]) -> None:
        """Write client.yaml (JSON is YAML)."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / "client.yaml"
        path.write_text(json.dumps(document))
        # Independent of the umask: a file that others may write is refused.
        path.chmod(0o600)

    def ssh_settings(self, sshd: RunningSshd, *patterns: str) -> None:
        """Write the block of `ssh-config` with sshd's port; web-1 is known by its host key."""
        block = self.sixtykey("ssh-config", *(patterns or ("web-*",)))
        assert block.code == 0, block
        known = self.home / "known_hosts"
        lines = sshd.known_hosts.read_text().split(" ", 1)[1]
        known.write_text(f"[web-1]:{sshd.port},[web-2]:{sshd.port} {lines}")
        self.config.write_text(
            f"{block.out}Host *\n  Port {sshd.port}\n  UserKnownHostsFile {known}\n"
            "  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n  BatchMode yes\n"
            "  LogLevel INFO\n"
        )

    def do(self, *command: str, text: str = "", cwd: Optional[Path] = None) -> Done:
        """Run a command in this environment."""
        done = subprocess.run(
            command, env=self.environment, input=text, capture_output=True, text=True,
            check=False, timeout=PATIENCE, cwd=cwd or self.home,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)

    def sixtykey(self, *words: str) -> Done:
        """Run sixtykey, as pip installs it."""
        return self.do(tool("sixtykey", "sixtykey"), *words)

    def ssh(self, *words: str) -> Done:
        """Run ssh with this user's configuration."""
        return self.do(tool("ssh", "openssh-client"), "-F", str(self.config), *words)

    def agent_keys(self) -> list[str]:
        """The keys that ssh-add -L prints."""
        listed = self.do(tool("ssh-add", "openssh-client"), "-L")
        return listed.out.splitlines() if listed.code == 0 else []
