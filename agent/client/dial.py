"""Connects to the one of a host's addresses that answers first.

Source: RFC 8305 (Happy Eyeballs Version 2): address families alternate, a new attempt starts every
quarter of a second or when one fails, and the first established connection wins.
"""

from __future__ import annotations

import _socket
import errno
import os
import select
import time

from agent.client import limits
from agent.client.trouble import AWAY, Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Optional

    # Family, and the address as connect(2) takes it.
    Place = tuple[int, Any]

_IN_PROGRESS = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY)


def dial(names: Sequence[str], port: int, seconds: float, what: str) -> _socket.socket:
    """Connect; returns a blocking TCP socket. Raises Trouble: no address answers in time.

    Args:
        names: addresses, or names of which all addresses are tried.
        seconds: the time limit for all attempts.
        what: the host's name in error messages.
    """
    places = alternate_families(_resolve(names, port))
    race = _Race(places, time.monotonic() + seconds)
    try:
        won = race.run()
    finally:
        race.close()
    if won is None:
        raise Trouble(
            AWAY, "NoConnection", f"cannot connect to {what}: {race.describe_failures()}",
            "is the address right, and is the port open from here?",
        )  # fmt: skip
    won.setblocking(True)
    won.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
    return won


def _resolve(names: Sequence[str], port: int) -> list[Place]:
    found: list[Place] = []
    words = ""
    for name in names:
        try:
            # A str would be encoded with the codec `idna`, which takes long to import.
            plain = name.encode() if name.isascii() else name
            infos = _socket.getaddrinfo(plain, port, 0, _socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            words = words or f"{name}: {getattr(error, 'strerror', '') or error}"
            continue
        found += [(info[0], info[4]) for info in infos if (info[0], info[4]) not in found]
    if not found:
        raise Trouble(AWAY, "NoAddress", words or "there is no address to connect to")
    return found[: limits.ADDRESSES]


def alternate_families(places: Sequence[Place]) -> list[Place]:
    """Alternate the address families, beginning with the first one's (RFC 8305, section 4)."""
    first = [place for place in places if place[0] == places[0][0]]
    others = [place for place in places if place[0] != places[0][0]]
    mixed = []
    while first or others:
        mixed += [kind.pop(0) for kind in (first, others) if kind]
    return mixed


class _Race:
    """Parallel attempts to connect. Times are those of time.monotonic."""

    def __init__(self, places: Sequence[Place], end: float) -> None:
        self._left = list(places)
        self._end = end
        self._running: dict[int, _socket.socket] = {}
        self._poll = select.poll()
        self._failures: list[str] = []
        self._won: Optional[_socket.socket] = None

    def run(self) -> Optional[_socket.socket]:
        while self._won is None and (self._left or self._running):
            now = time.monotonic()
            if now >= self._end:
                self._failures.append("no answer in time")
                return None
            if self._left:
                self._begin(*self._left.pop(0))
            delay = limits.ATTEMPT_DELAY_SECONDS if self._left else self._end - now
            if self._running and self._won is None:
                self._wait(min(delay, self._end - now))
        return self._won

    def _begin(self, family: int, address: Any) -> None:
        try:
            sock = _socket.socket(family, _socket.SOCK_STREAM)
        except OSError as error:
            self._failures.append(error.strerror or str(error))
            return
        sock.setblocking(False)
        status = sock.connect_ex(address)
        if status == 0:
            self._won = sock
        elif status in _IN_PROGRESS:
            self._running[sock.fileno()] = sock
            self._poll.register(sock.fileno(), select.POLLOUT)
        else:
            sock.close()
            self._failures.append(f"{address[0]}: {os.strerror(status)}")

    def _wait(self, seconds: float) -> None:
        for number, _ in self._poll.poll(max(1, int(seconds * 1000))):
            sock = self._running.pop(number)
            self._poll.unregister(number)
            status = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
            if status == 0 and self._won is None:
                self._won = sock
                continue
            if status:
                self._failures.append(os.strerror(status))
            sock.close()

    def close(self) -> None:
        """Close the attempts that have not won."""
        for sock in self._running.values():
            sock.close()

    def describe_failures(self) -> str:
        """Why no attempt won."""
        return ", ".join(dict.fromkeys(self._failures)) or "no answer"
