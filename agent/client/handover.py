"""Gives ssh the connection: the socket itself where it asks for that, else every byte by relay.

With ProxyUseFdpass, stdin and stdout are one end of a socket pair, and ssh waits on the other for a
message that carries a descriptor (OpenSSH, sshconnect.c, ssh_proxy_fdpass_connect).
"""

from __future__ import annotations

import _socket
import os
import select
import stat

from agent.client import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

_IN, _OUT = 0, 1


def wants_socket() -> bool:
    """Whether whoever started this waits for a socket: stdin and stdout are the same one."""
    ends = os.fstat(_IN), os.fstat(_OUT)
    same = ends[0].st_ino == ends[1].st_ino and ends[0].st_dev == ends[1].st_dev
    return same and all(stat.S_ISSOCK(end.st_mode) for end in ends)


def give(descriptor: int) -> None:
    """Pass a connected socket to ssh. Raises OSError."""
    out = _socket.socket(fileno=os.dup(_OUT))
    try:
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptor.to_bytes(4, _ORDER))]
        # One byte has to go with it (unix(7)); ssh throws it away.
        out.sendmsg([b"\0"], rights)
    finally:
        out.close()


_ORDER = __import__("sys").byteorder


def relay(connection: _socket.socket) -> None:
    """Carry bytes both ways until the far side has ended, or both have. Raises OSError."""
    number = connection.fileno()
    # What is read at one end and not yet written at the other.
    held = {_IN: b"", number: b""}
    to = {_IN: number, number: _OUT}
    reading = {_IN, number}
    for each in (_IN, _OUT, number):
        os.set_blocking(each, False)
    try:
        while number in reading or held[number]:
            _turn(held, to, reading, connection)
    finally:
        for each in (_IN, _OUT):
            os.set_blocking(each, True)


def _turn(
    held: dict[int, bytes], to: dict[int, int], reading: set[int], connection: _socket.socket
) -> None:
    """Wait for what can go on, and do it once."""
    sources = [end for end in reading if not held[end]]
    sinks = {to[end]: end for end in held if held[end]}
    ready, room, _ = select.select(sources, list(sinks), [])
    for end in ready:
        held[end] = _read(end) or b""
        if not held[end]:
            reading.discard(end)
            if end == _IN:
                _half_close(connection)
    for sink in room:
        end = sinks[sink]
        try:
            held[end] = held[end][os.write(sink, held[end]) :]
        except BlockingIOError:
            pass


def _read(end: int) -> Optional[bytes]:
    """What is there; nothing at the end, and where the other side broke off."""
    try:
        return os.read(end, limits.RELAY_BYTES)
    except ConnectionError:
        return None


def _half_close(connection: _socket.socket) -> None:
    """The far side shall see the end; it may still have something to say."""
    try:
        connection.shutdown(_socket.SHUT_WR)
    except OSError:
        pass
