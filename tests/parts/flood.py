"""Floods of the network listener by hostile clients, each in a separate process.

    python -m tests.parts.flood KIND PORT SECONDS EACH SOURCE...

opens EACH connections from each SOURCE (a loopback address) and keeps them busy for SECONDS; one
that ends is opened again. At the end it prints, as JSON, the connections that it opened and the
bytes that it sent and read.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Callable, Union
from weakref import WeakKeyDictionary

from agent.config.limits import LIMITS
from tests.parts.host import ROOT

PIPELINED = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 600
"""What is sent over and over: small requests that need no credential."""

Stream = Union[socket.socket, ssl.SSLSocket]
AGAIN = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


@dataclass
class Sent:
    """A flood's counts: connections opened (a refused one counts again when retried) and bytes."""

    connections: int = 0
    sent: int = 0
    read: int = 0


def client_hello() -> bytes:
    """A ClientHello made by OpenSSL."""
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


class Flood:
    """Connections to one port that send without a pause. `deaf`: they never read."""

    def __init__(self, port: int, data: bytes, *, tls: bool = False, deaf: bool = False) -> None:
        self.came_to = Sent()
        self._port = port
        self._data = data
        self._deaf = deaf
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if tls else None
        if self._tls is not None:
            self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE
        self._selector = selectors.DefaultSelector()

    def open(self, source: str) -> None:
        """Open one more connection."""
        stream: Stream = socket.socket()
        try:
            stream.settimeout(10)
            stream.bind((source, 0))
            stream.connect(("127.0.0.1", self._port))
            if self._tls is not None:
                stream = self._tls.wrap_socket(stream)
            stream.setblocking(False)
        except OSError:
            stream.close()
            return
        self.came_to.connections += 1
        wanted = selectors.EVENT_WRITE | (0 if self._deaf else selectors.EVENT_READ)
        self._selector.register(stream, wanted, source)

    def turn(self) -> list[str]:
        """Send and read once where possible; return the sources of connections that have ended."""
        ended = []
        for key, events in self._selector.select(0.1):
            stream = key.fileobj
            assert isinstance(stream, socket.socket)
            try:
                if events & selectors.EVENT_READ:
                    self._read(stream)
                if events & selectors.EVENT_WRITE:
                    self._write(stream)
            except AGAIN:
                continue
            except (OSError, EOFError):
                self._selector.unregister(stream)
                stream.close()
                ended.append(key.data)
        return ended

    def _write(self, stream: socket.socket) -> None:
        self.came_to.sent += stream.send(self._data)

    def _read(self, stream: socket.socket) -> None:
        with contextlib.suppress(*AGAIN):
            data = stream.recv(65536)
            if not data:
                raise EOFError
            self.came_to.read += len(data)


class Held(Flood):
    """Connections that send this once and then wait."""

    def __init__(self, port: int, data: bytes, *, tls: bool = False) -> None:
        super().__init__(port, data, tls=tls)
        # A closed stream is forgotten by itself.
        self._left: WeakKeyDictionary[socket.socket, bytes] = WeakKeyDictionary()

    def _write(self, stream: socket.socket) -> None:
        left = self._left.get(stream, self._data)
        sent = stream.send(left)
        self._left[stream] = left[sent:]
        self.came_to.sent += sent
        if left[sent:] == b"":
            source = self._selector.get_key(stream).data
            self._selector.modify(stream, selectors.EVENT_READ, source)


class Handshakes(Flood):
    """The same ClientHello on connection after connection; each ends when it is answered."""

    def turn(self) -> list[str]:
        """Send it once on each; return the sources of those that were answered or have ended."""
        ended = []
        for key, events in self._selector.select(0.1):
            stream = key.fileobj
            assert isinstance(stream, socket.socket)
            with contextlib.suppress(OSError, EOFError):
                if events & selectors.EVENT_WRITE:
                    self.came_to.sent += stream.send(self._data)
                    self._selector.modify(stream, selectors.EVENT_READ, key.data)
                    continue
                self._read(stream)
            self._selector.unregister(stream)
            stream.close()
            ended.append(key.data)
        return ended


# A ClientHello that claims 128 KiB, in records of 4 KiB, up to the limit of a handshake.
_RECORD = b"\x16\x03\x01\x10\x00"
HALF_HELLO = _RECORD + b"\x01\x02\x00\x00\x03\x03".ljust(4096, b"a")
HALF_HELLO += (_RECORD.ljust(5 + 4096, b"a") * 3)[: LIMITS.handshake_bytes - len(HALF_HELLO)]
# The longest head and body, without the last byte.
HALF_REQUEST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 16384\r\n"
HALF_REQUEST += b"".join(b"X-%d: %s\r\n" % (n, b"a" * 256) for n in range(60)) + b"\r\n"
HALF_REQUEST += b"a" * 16383
KINDS: dict[str, Callable[[int], Flood]] = {
    "pipelined": lambda port: Flood(port, PIPELINED),
    "pipelined-tls": lambda port: Flood(port, PIPELINED, tls=True),
    "deaf": lambda port: Flood(port, PIPELINED, deaf=True),
    "deaf-tls": lambda port: Flood(port, PIPELINED, tls=True, deaf=True),
    "half-requests": lambda port: Held(port, HALF_REQUEST),
    "half-requests-tls": lambda port: Held(port, HALF_REQUEST, tls=True),
    "half-hellos": lambda port: Held(port, HALF_HELLO),
    "handshakes": lambda port: Handshakes(port, client_hello()),
}


@contextlib.contextmanager
def flooding(
    kind: str, port: int, seconds: float, each: int, sources: Sequence[str]
) -> Iterator[subprocess.Popen[str]]:
    """Run a flood inside the block; it has ended afterwards."""
    words = [kind, str(port), str(seconds), str(each), *sources]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.parts.flood", *words],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def result(flood: subprocess.Popen[str]) -> Sent:
    """Wait for a flood's end; return its counts. Raises RuntimeError when it failed."""
    out, _ = flood.communicate(timeout=60)
    if flood.returncode:
        raise RuntimeError(f"the flood ended with {flood.returncode}")
    return Sent(**json.loads(out))


def main(kind: str, port: int, seconds: float, each: int, sources: Sequence[str]) -> None:
    """Run the flood."""
    flood = KINDS[kind](port)
    for source in (source for _ in range(each) for source in sources):
        flood.open(source)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for source in flood.turn():
            flood.open(source)
    print(json.dumps(asdict(flood.came_to)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
