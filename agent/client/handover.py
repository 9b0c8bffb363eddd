"""Gives ssh the connection: passes the socket if ssh wants it, else relays the bytes.

With ProxyUseFdpass, stdin and stdout are one end of a socket pair. At the other end ssh waits for a
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
    """Whether ssh waits for a socket: then stdin and stdout are the same socket."""
    ends = os.fstat(_IN), os.fstat(_OUT)
    same = ends[0].st_ino == ends[1].st_ino and ends[0].st_dev == ends[1].st_dev
    return same and all(stat.S_ISSOCK(end.st_mode) for end in ends)


def give(descriptor: int) -> None:
    """Pass a connected socket to ssh. Raises OSError."""
    out = _socket.socket(fileno=os.dup(_OUT))
    try:
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptor.to_bytes(4, _ORDER))]
        # The message needs at least one byte (unix(7)); ssh discards it.
        out.sendmsg([b"\0"], rights)
    finally:
        out.close()


_ORDER = __import__("sys").byteorder


def relay(connection: _socket.socket) -> None:
    """Relay bytes both ways until the host closes or resets, or both sides do. Raises OSError."""
    # A write to a closed connection is an error of that write, and not the end of this process.
    signal = __import__("_signal")
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    number = connection.fileno()
    # Bytes that were read from one end and are not yet written to the other.
    held = {_IN: b"", number: b""}
    to = {_IN: number, number: _OUT}
    reading = {_IN, number}
    for each in (_IN, _OUT, number):
        os.set_blocking(each, False)
    try:
        while number in reading or held[number]:
            _relay_once(held, to, reading, connection)
    finally:
        for each in (_IN, _OUT):
            os.set_blocking(each, True)


def _relay_once(
    held: dict[int, bytes], to: dict[int, int], reading: set[int], connection: _socket.socket
) -> None:
    """Wait until a descriptor is ready, and read or write once."""
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
        except ConnectionError:
            # Nothing more can go there. What came from there before is still written.
            held[end] = b""
            reading.discard(end)


def _read(end: int) -> Optional[bytes]:
    """Read the available bytes; empty at the end, or when the other side reset."""
    try:
        return os.read(end, limits.RELAY_BYTES)
    except ConnectionError:
        return None


def _half_close(connection: _socket.socket) -> None:
    """Send the end to the host, which may still send data."""
    try:
        connection.shutdown(_socket.SHUT_WR)
    except OSError:
        pass
