"""systemd's two small protocols: passed sockets and notifications. Standard library only.

Sources: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3). Without systemd, everything here
does nothing.
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

    The variables are removed from `environ`, and the descriptors are closed on exec, so that no
    child takes them for its own. If two sockets have the same name, the first one is used.

    Returns:
        Listening sockets by name, with family and type as the kernel knows them; none when
        LISTEN_PID is not this process.
    Raises:
        OSError: an announced descriptor is not open, or is not a socket.
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
    """Sends notifications to the service manager, as datagrams to NOTIFY_SOCKET.

    Without that socket the methods do nothing. None raises or blocks: a service manager that does
    not read must never stop a lookup.

    `watchdog_interval`: seconds between two calls of `watchdog`, half of what the manager allows;
    None if it does not watch this process.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # "@" stands for the NUL of an abstract name; any other first character is invalid.
        self._address = "\0" + address[1:] if address[:1] == "@" else address
        # One socket, kept open: opening one for each message would fail without free descriptors,
        # and the watchdog would then kill a daemon that still answers.
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
        """Close the socket; later notifications are silently lost."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except (OSError, ValueError):
            pass  # an absent or slow manager is no reason to fail a login


def _watchdog_interval(environ: Mapping[str, str]) -> Optional[float]:
    pid, microseconds = environ.get("WATCHDOG_PID", ""), environ.get("WATCHDOG_USEC", "")
    if pid not in {"", str(os.getpid())} or not microseconds.isdecimal() or not int(microseconds):
        return None
    return int(microseconds) / 1_000_000 / 2


def _one_line(text: str) -> str:
    return " ".join(text.split())
