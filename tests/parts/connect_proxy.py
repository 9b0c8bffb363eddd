"""An HTTP proxy that takes CONNECT, as in company networks; every name leads to this machine."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Optional

from tests.parts.listener import Listener


class ConnectProxy(Listener):
    """A proxy on loopback. It records the heads of requests, and what it relays to servers.

    `answer`: what it sends instead of relaying.
    """

    def __init__(self, answer: Optional[bytes] = None) -> None:
        super().__init__()
        self._answer = answer
        self.heads: list[str] = []
        self.relayed = b""

    def take(self, sock: socket.socket) -> None:
        """Answer, or relay to the port that CONNECT names."""
        head = b""
        while b"\r\n\r\n" not in head and (part := sock.recv(4096)):
            head += part
        self.heads.append(head.decode("latin-1"))
        if self._answer is not None:
            sock.sendall(self._answer)
            return
        port = int(head.split(b" ")[1].rpartition(b":")[2])
        with socket.create_connection(("127.0.0.1", port)) as server:
            sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=self._copy, args=(server, sock), daemon=True)
            back.start()
            while data := sock.recv(65536):
                self.relayed += data
                server.sendall(data)
            back.join(30)

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
