"""A listening socket on loopback: the base class of servers that tests write themselves."""

from __future__ import annotations

import contextlib
import socket
import threading

from tests.parts.part import Part


class Listener(Part):
    """Passes each connection to `take`, in a thread of its own."""

    def __init__(self) -> None:
        self._door = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self._door.getsockname()[1]}"

    def begin(self) -> None:
        """Take connections from now on."""
        threading.Thread(target=self._serve, daemon=True).start()

    def finish(self) -> None:
        """Take no more connections."""
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()

    def take(self, sock: socket.socket) -> None:
        """Serve one connection; it is closed afterwards."""
        raise NotImplementedError

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._door.accept()
            except OSError:
                return
            threading.Thread(target=self._take, args=(sock,), daemon=True).start()

    def _take(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            self.take(sock)
