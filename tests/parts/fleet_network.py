"""A network of a fleet's own: a bridge in a namespace, and hosts that reach nothing but the bus."""

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
    """Run this program anew in a network namespace of its own, where root may make one.

    Returns its exit code; None where none can be made, or we are in it already (`is_own`).
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
    """Whether this runs in a network of its own."""
    return bool(os.environ.get(_MARK))


def _ip(*words: str) -> None:
    subprocess.run([tool("ip", "iproute2"), *words], check=True, timeout=30)


def make_bridge() -> None:
    """Loopback, and a bridge with the address of the bus; the namespace's end removes both."""
    _ip("link", "set", "lo", "up")
    _ip("link", "add", "bus", "type", "bridge")
    _ip("address", "add", f"{BUS}/24", "dev", "bus")
    _ip("link", "set", "bus", "up")


class HostNetwork(Part):
    """A host's way out: a namespace with one link to the bridge, inside the `with` block.

    `prefix` is the command that runs another one there.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._link = f"host{number}"
        self.address = f"10.123.0.{10 + number}"
        # It holds the namespace: as long as it lives, there is one.
        self._holder = subprocess.Popen(
            [tool("unshare", "util-linux"), "--net", "cat"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    @property
    def prefix(self) -> list[str]:
        """nsenter(1), up to the command."""
        return [tool("nsenter", "util-linux"), "-t", str(self._holder.pid), "-n", "--"]

    def begin(self) -> None:
        """Lay the link."""
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
        """Take the link down: nothing comes through any more."""
        _ip("link", "set", self._link, "down")

    def finish(self) -> None:
        """Let the namespace go, and its link with it."""
        self._holder.kill()
        self._holder.wait(30)
