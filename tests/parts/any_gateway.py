"""A gateway of a fleet that answers anything: to a host, it may be anybody."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from pathlib import Path

from agent.fleet.home.authority import Authority
from tests.parts.bus import PATIENCE
from tests.parts.part import Part


class AnyGateway(Part):
    """A gateway that answers every request with the bytes that a test sets."""

    def __init__(self, directory: Path) -> None:
        made = Authority.create("any authority", time.time())
        self.ca = made.pem.certificate
        shown = made.issue(["127.0.0.1"], time.time())
        file = directory / "gateway.pem"
        file.write_text(shown.certificate + shown.private_key)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(file)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self.answer = b""
        self._thread = threading.Thread(target=self._run)

    def begin(self) -> None:
        """Answer in a thread."""
        self._thread.start()

    def finish(self) -> None:
        """Stop."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE)

    def says(self, status: int, body: bytes) -> None:
        """Answer with this status and body from now on."""
        head = f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self.answer = head.encode() + body

    def _run(self) -> None:
        while True:
            try:
                taken = self._listener.accept()[0]
            except OSError:
                return
            taken.settimeout(PATIENCE)
            with contextlib.suppress(OSError), self._context.wrap_socket(taken, True) as tls:
                # All of it: with a rest unread, the kernel would take back the answer.
                asked = b"?"
                while not asked.endswith(b"{}" if b"POST" in asked[:5] else b"\r\n\r\n"):
                    piece = tls.recv(65536)
                    if not piece:
                        break
                    asked += piece
                tls.sendall(self.answer)
