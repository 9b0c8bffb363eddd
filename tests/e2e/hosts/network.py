"""A client beside a host: a separate network namespace, and a veth between the two."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from tests.e2e.hosts.machine import Machine
from tests.parts.part import Part

# An sshd that reloads executes itself anew, and listens again after a moment.
SSHD_SECONDS = 5.0


class Client(Part):
    """The network of the AWS CLI and ssh, as on another machine. A context manager."""

    def __init__(self, machine: Machine, number: int, work: Path) -> None:
        self.machine = machine
        self.namespace = f"sixtykey-{os.getpid()}-{number}"
        self.here, self.there = (
            f"sk{os.getpid() % 100000}c{number}",
            f"sk{os.getpid() % 100000}h{number}",
        )
        # Both ends are in namespaces made here, and nothing routes to them.
        self.address, self.host = f"10.60.{number}.1", f"10.60.{number}.2"
        self.work = work

    def begin(self) -> None:
        """Make the namespace, and connect it to the machine's."""
        self._ip("netns", "add", self.namespace)
        inside = ("nsenter", "-t", str(self.machine.pid), "-n", "ip")
        self._ip("link", "add", self.here, "netns", self.namespace, "type", "veth",
                 "peer", "name", self.there, "netns", str(self.machine.pid))  # fmt: skip
        self._ip("-n", self.namespace, "addr", "add", f"{self.address}/24", "dev", self.here)
        self._ip("-n", self.namespace, "link", "set", self.here, "up")
        self._ip("-n", self.namespace, "link", "set", "lo", "up")
        subprocess.run([*inside, "addr", "add", f"{self.host}/24", "dev", self.there], check=True)
        subprocess.run([*inside, "link", "set", self.there, "up"], check=True)

    def finish(self) -> None:
        """Remove the namespace and its link."""
        self._ip("netns", "del", self.namespace)

    def run(
        self, *command: str, environ: Mapping[str, str] = {}, limit: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of this machine in the client's network."""
        return subprocess.run(
            ["ip", "netns", "exec", self.namespace, *command],
            env={**os.environ, **environ}, capture_output=True, text=True, timeout=limit,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def ssh(self, user: str, key: Path, *command: str) -> list[str]:
        """OpenSSH's command line for a login with only this key."""
        return [
            "ssh", "-F", "/dev/null", "-i", str(key), "-l", user,
            "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes",
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10", self.host, *command,
        ]  # fmt: skip

    def login(self, user: str, key: Path) -> str:
        """The user name after a login; empty when it is refused."""
        end = time.monotonic() + SSHD_SECONDS
        done = self.run(*self.ssh(user, key, "id -un"))
        while "Connection refused" in done.stderr and time.monotonic() < end:
            time.sleep(0.1)
            done = self.run(*self.ssh(user, key, "id -un"))
        if done.returncode not in {0, 255}:
            raise AssertionError(f"ssh: exit {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def key(self, name: str) -> Path:
        """Make a key pair; return the path of the private key."""
        path = self.work / name
        path.unlink(missing_ok=True)
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)]
        subprocess.run(command, check=True)
        return path

    @staticmethod
    def _ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True)
