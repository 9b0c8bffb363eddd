"""Asks the daemon, over its push socket: one HTTP request by hand, read to the end.

`http.client` and `socket` would take longer to import than the daemon takes to answer.
"""

from __future__ import annotations

import _socket
import time

from agent.client import quickjson
from agent.client.trouble import AWAY, FORBIDDEN, REFUSED, Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

    from agent.commands.options import Options

# The same as config.Push's: importing that module would take too long.
DEFAULT_SOCKET = "/run/sixtykey/push.sock"
PUSH = "AWSEC2InstanceConnectService.SendSSHPublicKey"
# Seconds for the whole exchange: a push may wait for the journal's disk.
PATIENCE = 15.0

_START = "is it running? systemctl status sixtykeyd; journalctl -u sixtykeyd; sixtykey check"


class Daemon:
    """The daemon, at the push socket of --socket, of --config, or at the default one.

    `configured`: the socket of a configuration that the caller has read already.
    """

    def __init__(self, options: Options, configured: str = "") -> None:
        given, config = options.value("--socket") or configured, options.value("--config")
        self._certain = bool(given or config)
        self.path = given or (_read_path(config) if config else DEFAULT_SOCKET)

    def ask(self, action: str, body: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        """The answer to an action such as "Sixtykey.List". Raises Trouble."""
        content = quickjson.dumps(body).encode() if body else b"{}"
        head = (
            "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nUser-Agent: sixtykey\r\n"
            f"Content-Type: application/x-amz-json-1.1\r\nX-Amz-Target: {action}\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        return _read(self._exchange(head.encode() + content))

    def _exchange(self, request: bytes) -> bytes:
        try:
            return _exchange(self.path, request)
        except OSError as error:
            if not self._certain and not isinstance(error, PermissionError):
                # The configuration may name another socket; it is slow to read, and rarely does.
                self._certain = True
                elsewhere = _read_other_path()
                if elsewhere is not None and elsewhere != self.path:
                    self.path = elsewhere
                    return self._exchange(request)
            raise _away(self.path, error) from None


def _exchange(path: str, request: bytes) -> bytes:
    """Send, and read until the daemon closes. Raises OSError."""
    answer: list[bytes] = []
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.settimeout(PATIENCE)
        _connect(sock, path)
        sock.sendall(request, _socket.MSG_NOSIGNAL)
        while True:
            chunk = sock.recv(1 << 18)
            if not chunk:
                return b"".join(answer)
            answer.append(chunk)
    finally:
        sock.close()


def _connect(sock: _socket.socket, path: str) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return sock.connect(path)
        except BlockingIOError:
            # The daemon's backlog is full; with a time limit the kernel does not wait (unix(7)).
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def _read(answer: bytes) -> dict[str, Any]:
    head, _, content = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    try:
        body = quickjson.loads(content.decode())
    except ValueError:
        body = None
    if not status or not isinstance(body, dict):
        raise Trouble(AWAY, "NoAnswer", "the daemon closed without an answer", _START)
    if status[0] != b"200":
        code, message = str(body.get("__type")), str(body.get("Message"))
        raise Trouble(REFUSED, code, f"refused, {code}: {message}")
    return body


def _away(path: str, error: OSError) -> Trouble:
    if isinstance(error, PermissionError):
        return Trouble(
            FORBIDDEN,
            "Forbidden",
            f"you may not connect to {path}",
            "run it as root (sudo sixtykey ...), or as a member of the group of that socket, "
            "usually sixtykey-push, whose members are equivalent to root",
        )
    if isinstance(error, (_socket.timeout, BlockingIOError)):
        what = f"does not answer at {path} within {PATIENCE:.0f} s"
    else:
        what = f"does not answer at {path}: {error.strerror or error}"
    return Trouble(AWAY, "DaemonAway", f"the daemon {what}", _START)


def _read_path(config: str) -> str:
    from agent.commands.settings import load

    return load(config).push.socket


def _read_other_path() -> Optional[str]:
    from agent.commands.settings import DEFAULT_PATH

    try:
        return _read_path(DEFAULT_PATH)
    except Trouble:
        return None
