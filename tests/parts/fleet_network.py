"""A network for a fleet: a bridge in a namespace, and hosts that reach only the bus."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Optional

from tests.parts.host import IS_ROOT, tool
from tests.parts.part import Part

BUS = "10.123.0.1"
"""The bridge's address, where the servers of the bus are."""
_MARK = "SIXTYKEY_OWN_NETWORK"


def own(words: Sequence[str]) -> Optional[int]:
    """Run this program again in a new network namespace, where root may make one.

    Returns its exit code; None if none can be made, or if this is the new one already (`is_own`).
    """
    unshare = tool("unshare", "util-linux")
    if (
        is_own()
        or not IS_ROOT
        or subprocess.run([unshare, "--net", "true"], check=False).returncode
    ):
        return None
    command = [unshare, "--net", "--kill-child", "--fork", "--", sys.executable, *words]
    return subprocess.run(command, env={**os.environ, _MARK: "1"}, check=False).returncode


def is_own() -> bool:
    """Whether this runs in a network namespace made by `own`."""
    return bool(os.environ.get(_MARK))


def _ip(*words: str) -> None:
    subprocess.run([tool("ip", "iproute2"), *words], check=True, timeout=30)


def make_bridge() -> None:
    """Set up loopback, and a bridge with the bus's address; both end with the namespace."""
    _ip("link", "set", "lo", "up")
    _ip("link", "add", "bus", "type", "bridge")
    _ip("address", "add", f"{BUS}/24", "dev", "bus")
    _ip("link", "set", "bus", "up")


class HostNetwork(Part):
    """A host's network: a namespace with one link to the bridge, inside the `with` block.

    `prefix` is the command that runs another one there.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._link = f"host{number}"
        self.address = f"10.123.0.{10 + number}"
        # This process keeps the namespace alive.
        self._holder = subprocess.Popen(
            [tool("unshare", "util-linux"), "--net", "cat"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    @property
    def prefix(self) -> list[str]:
        """The nsenter(1) command before the command to run."""
        return [tool("nsenter", "util-linux"), "-t", str(self._holder.pid), "-n", "--"]

    def begin(self) -> None:
        """Make the namespace and its link."""
        while os.readlink(f"/proc/{self._holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            if self._holder.poll() is not None:
                raise RuntimeError("the host's network namespace is not made")
        peer = ("peer", "name", "out", "netns", str(self._holder.pid))
        _ip("link", "add", self._link, "type", "veth", *peer)
        _ip("link", "set", self._link, "master", "bus", "up")
        for words in (
            ("address", "add", f"{self.address}/24", "dev", "out"),
            ("link", "set", "out", "up"),
        ):
            subprocess.run([*self.prefix, tool("ip", "iproute2"), *words], check=True, timeout=30)

    def cut(self) -> None:
        """Take the link down, so that no packet passes."""
        _ip("link", "set", self._link, "down")

    def finish(self) -> None:
        """End the namespace and its link."""
        self._holder.kill()
        self._holder.wait(30)
