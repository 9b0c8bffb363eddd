"""The peer of a Unix socket, according to the kernel."""

from __future__ import annotations

import socket
import struct

# struct ucred: pid, uid, gid (unix(7), SO_PEERCRED).
_UCRED = struct.Struct("3i")


def peer_process(sock: socket.socket) -> tuple[int, int]:
    """The process id and user id of the peer, at the time it connected. Raises OSError."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, _ = _UCRED.unpack(credentials)
    return int(pid), int(uid)


def peer_uid(sock: socket.socket) -> int:
    """The user id of the peer, at the time it connected. Raises OSError."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(credentials)[1])
