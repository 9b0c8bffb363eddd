"""A client that sends exactly the bytes of a test and reads the answers."""

from __future__ import annotations

import json
import socket
import ssl
from dataclasses import dataclass
from typing import Any, Optional, Union

from tests.parts.part import Part

Address = Union[str, tuple[str, int]]
"""A Unix socket's path, or host and port."""

PATIENCE = 30.0
"""Seconds to wait for bytes before that is called a failure."""


@dataclass(frozen=True)
class Answer:
    """One HTTP response; header names are in lower case."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def body(self) -> dict[str, Any]:
        """The body as JSON."""
        parsed = json.loads(self.content)
        assert isinstance(parsed, dict)
        return parsed

    @property
    def code(self) -> str:
        """The error's name; empty on success.

        Fails unless the answer has the form of AWS's reference.
        """
        request_id = self.headers["x-amzn-requestid"]
        assert self.headers["content-type"] == "application/x-amz-json-1.1"
        if self.status == 200:
            assert self.body == {"RequestId": request_id, "Success": True}
            return ""
        assert set(self.body) == {"__type", "Message"}
        assert self.body["Message"]
        assert self.headers["x-amzn-errortype"] == self.body["__type"]
        return str(self.body["__type"])

    @property
    def request_id(self) -> str:
        """The request id of the header."""
        return self.headers["x-amzn-requestid"]


class Raw(Part):
    """One connection. `source` is the local address to connect from."""

    def __init__(
        self,
        address: Address,
        *,
        source: Optional[str] = None,
        tls: Optional[ssl.SSLContext] = None,
        receive_buffer: Optional[int] = None,
    ) -> None:
        unix = isinstance(address, str)
        sock = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        sock.settimeout(PATIENCE)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source is not None:
            sock.bind((source, 0))
        self.sock = sock
        try:
            sock.connect(address)
            if tls is not None:
                self.sock = tls.wrap_socket(sock, server_hostname="localhost")
        except BaseException:
            sock.close()
            raise
        self._inbox = b""

    def send(self, data: bytes) -> Raw:
        """Send all bytes."""
        self.sock.sendall(data)
        return self

    def _read(self) -> bool:
        """Read once; return whether there was data."""
        try:
            data = self.sock.recv(65536)
        except (BrokenPipeError, ConnectionResetError):
            return False
        self._inbox += data
        return bool(data)

    def head(self) -> tuple[int, dict[str, str]]:
        """The next status and headers, without the body."""
        while b"\r\n\r\n" not in self._inbox:
            if not self._read():
                raise EOFError(f"closed after {self._inbox!r}")
        head, _, self._inbox = self._inbox.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        version, status = lines[0].split(" ")[:2]
        assert version in {"HTTP/1.1", "HTTP/1.0"}
        pairs = (line.partition(":") for line in lines[1:])
        return int(status), {name.lower(): value.strip() for name, _, value in pairs}

    def answer(self) -> Answer:
        """The next whole response."""
        status, headers = self.head()
        length = int(headers["content-length"])
        while len(self._inbox) < length:
            if not self._read():
                raise EOFError(f"closed within {self._inbox!r}")
        content, self._inbox = self._inbox[:length], self._inbox[length:]
        return Answer(status, headers, content)

    def ends(self) -> bool:
        """Wait; return whether the server closes the connection without further data."""
        return not self._inbox and not self._read()

    def close(self) -> None:
        """Close."""
        self.sock.close()

    def finish(self) -> None:
        """Close the connection."""
        self.close()


def ask(address: Address, data: bytes, **options: Any) -> Answer:
    """Send one request on a new connection; return its answer."""
    with Raw(address, **options) as raw:
        return raw.send(data).answer()
