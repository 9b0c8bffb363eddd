"""EC2's instance metadata beside a host: HTTP at its two addresses, in a separate network.

The host has a cable (veth) to it, as an instance has; certificates, OCSP answers and signatures are
made by openssl with a temporary authority.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable

from tests.e2e.hosts.host import Host
from tests.e2e.hosts.report import expect
from tests.parts.ec2_signer import Ec2Signer
from tests.parts.host import ROOT
from tests.parts.metadata import MetadataFolder
from tests.parts.part import Part

ADDRESSES = ("169.254.169.254", "fd00:ec2::254")
# On the same link and as quick to answer, but not an address of EC2's metadata.
STRANGER = "169.254.169.253"
# Seconds: while it cannot be reached, the metadata is tried once a minute.
PATIENCE = 90.0


class Imds(Part):
    """The metadata service of one host. `data` is its content, `signer` signs its blocks."""

    def __init__(self, host: Host) -> None:
        self.signer = Ec2Signer(host.work / "signer")
        self.data = MetadataFolder(host.work / "imds")
        self.data.set_signer(self.signer)
        self._pid = host.machine.pid
        self._namespace = f"{host.client.namespace}-imds"
        self._there = f"{host.client.here}m"
        self._servers: list[subprocess.Popen[bytes]] = []

    def begin(self) -> None:
        """Make the veth, and serve."""
        _ip("netns", "add", self._namespace)
        _ip("link", "add", self._there, "netns", self._namespace, "type", "veth",
            "peer", "name", "imds0", "netns", str(self._pid))  # fmt: skip
        inside = ("nsenter", "-t", str(self._pid), "-n", "ip")
        for words in (
            ("addr", "add", "169.254.169.250/28", "dev", "imds0"),
            ("addr", "add", "fd00:ec2::1/64", "dev", "imds0", "nodad"),
            ("link", "set", "imds0", "up"),
        ):
            subprocess.run([*inside, *words], check=True)
        for address in (ADDRESSES[0], STRANGER):
            self._ip("addr", "add", f"{address}/28", "dev", self._there)
        self.connect()
        self.serve()

    def finish(self) -> None:
        """Stop, and remove the network."""
        self.vanish()
        subprocess.run(["ip", "netns", "del", self._namespace], check=False)

    def serve(self) -> None:
        """Serve at every address."""
        for address in (*ADDRESSES, STRANGER):
            command = ["ip", "netns", "exec", self._namespace, sys.executable, "-m"]
            command += ["tests.parts.metadata", str(self.data.folder), "--address", address]
            server = subprocess.Popen([*command, "--port", "80"], cwd=ROOT, stdout=subprocess.PIPE)
            self._servers.append(server)
            assert server.stdout is not None
            if not server.stdout.readline():
                raise RuntimeError(f"no metadata service at {address}")

    def vanish(self) -> None:
        """Stop listening, so that connections are refused."""
        for server in self._servers:
            server.kill()
            server.communicate()
        self._servers.clear()

    def disconnect(self) -> None:
        """Take the link down."""
        self._ip("link", "set", self._there, "down")

    def connect(self) -> None:
        """Bring the link up again."""
        self._ip("link", "set", self._there, "up")
        # The kernel forgets an IPv6 address with the link.
        self._ip("addr", "replace", f"{ADDRESSES[1]}/64", "dev", self._there, "nodad")

    def _ip(self, *arguments: str) -> None:
        _ip("-n", self._namespace, *arguments)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def line(key: Path) -> str:
    """The line of a public key."""
    return key.with_suffix(".pub").read_text("ascii").strip()


def problem(host: Host) -> Any:
    """The reason why lookups do not wait for the metadata; None when they do."""
    status = json.loads(host.machine.run("sixtykey", "status", "--json").stdout)
    return status["Sources"]["ec2"]["Problem"]


def wait_until(holds: Callable[[], bool], what: Callable[[], Any]) -> None:
    """Wait until a condition holds. Raises StepError with the last observation."""
    end = time.monotonic() + PATIENCE
    while not holds():
        expect(time.monotonic() < end, str(what()))
        time.sleep(0.2)


def wait_well(host: Host) -> None:
    """Wait until the metadata is asked."""
    wait_until(lambda: problem(host) is None, lambda: problem(host))
