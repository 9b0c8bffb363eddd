"""systemd's two small protocols: sockets passed in, and words sent back. Standard library only.

Sources: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3). Under no service manager, and under
one that uses neither, everything here does nothing.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, MutableMapping
from typing import Optional

# SD_LISTEN_FDS_START, sd_listen_fds(3).
_FIRST_DESCRIPTOR = 3
_LISTEN_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


def listen_fds(environ: MutableMapping[str, str]) -> dict[str, socket.socket]:
    """The sockets that were passed to this process, by their FileDescriptorName=.

    The variables are taken out of `environ`, and the descriptors are closed on exec, so that no
    child of ours believes that they are its own. Names are those of the socket units; when two
    sockets have the same name, the first one counts.

    Returns:
        Listening sockets by name, with family and type as the kernel knows them; none when
        LISTEN_PID is not this process.
    Raises:
        OSError: a descriptor that was announced is not there, or is not a socket.
    """
    pid, count, names = (environ.get(name, "") for name in _LISTEN_VARIABLES[:3])
    for name in _LISTEN_VARIABLES:
        environ.pop(name, None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return {}
    found: dict[str, socket.socket] = {}
    for index, name in enumerate(_names(names, int(count))):
        descriptor = _FIRST_DESCRIPTOR + index
        os.set_inheritable(descriptor, False)
        passed = socket.socket(fileno=descriptor)
        if name in found:
            passed.close()
        else:
            found[name] = passed
    return found


def _names(names: str, count: int) -> list[str]:
    """One name for each descriptor; without LISTEN_FDNAMES each is `unknown` (sd_listen_fds(3))."""
    given = names.split(":") if names else []
    return (given + ["unknown"] * count)[:count]


class Notifier:
    """What the service manager is told, by datagrams to NOTIFY_SOCKET.

    Every method does nothing without that socket, and none of them raises or waits: a service
    manager that does not listen must never stop a lookup.

    `watchdog_interval`: seconds between two calls of `watchdog`, half of what the manager allows;
    None when it keeps no watch on this process.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # "@" stands for the NUL that begins an abstract name; anything but these two is no address.
        self._address = "\0" + address[1:] if address[:1] == "@" else address
        # One socket for good: opening one for each word would fail when descriptors run out, and
        # the watchdog would then end a daemon that still answers.
        self._socket: Optional[socket.socket] = None
        if address[:1] in {"/", "@"}:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        self.watchdog_interval = _watchdog_interval(environ)

    def ready(self, status: str = "") -> None:
        """The daemon serves. Also ends a reload."""
        self._send("READY=1", f"STATUS={_one_line(status)}")

    def reloading(self) -> None:
        """A reload begins; the time is what Type=notify-reload matches it by."""
        self._send(
            "RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"
        )

    def stopping(self) -> None:
        """Draining has begun."""
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """Still alive."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={_one_line(text)}")

    def close(self) -> None:
        """Let go of the socket; every later word is lost in silence."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except (OSError, ValueError):
            pass  # a manager that is away or slow is no reason to fail a login


def _watchdog_interval(environ: Mapping[str, str]) -> Optional[float]:
    pid, microseconds = environ.get("WATCHDOG_PID", ""), environ.get("WATCHDOG_USEC", "")
    if pid not in {"", str(os.getpid())} or not microseconds.isdecimal() or not int(microseconds):
        return None
    return int(microseconds) / 1_000_000 / 2


def _one_line(text: str) -> str:
    return " ".join(text.split())
