"""The proxy that the environment names for https endpoints, as AWS's tools use it.

Only a tunnel (CONNECT, RFC 9110, section 9.3.6): TLS is with the endpoint itself, and is checked as
without a proxy. A proxy sees the endpoint's name, and nothing of what is sent.
"""

from __future__ import annotations

import binascii
import time

from agent.client import dial, limits
from agent.client.hosts import is_name
from agent.client.trouble import AWAY, Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

    from agent.client.folders import Environment

_USAGE = "set HTTPS_PROXY to http://[USER:PASSWORD@]HOST:PORT; or name the endpoint in NO_PROXY"


class Proxy:
    """One proxy. `authorization`: the header's value for USER:PASSWORD, or empty."""

    __slots__ = ("authorization", "host", "port")

    def __init__(self, url: str) -> None:
        scheme, mark, rest = url.partition("://")
        if not mark or not scheme.isalnum():
            # No scheme; a password may have the mark in it.
            scheme, rest = "", url
        login, _, place = rest.rpartition("@")
        # A path means nothing to a proxy, and is ignored, as in curl.
        place = place.partition("/")[0]
        host, colon, port = place.rpartition(":")
        if not colon or port.endswith("]"):
            host, port = place, "80"
        self.host = host.strip("[]")
        good = is_name(self.host) and self.host.isascii()
        number = port.isascii() and port.isdigit() and 0 < int(port[:9]) < 1 << 16
        if scheme.lower() not in ("", "http") or not good or not number:
            # Without the URL: it may have a password.
            raise Trouble(AWAY, "Proxy", "HTTPS_PROXY is not the URL of an http proxy", _USAGE)
        self.port = int(port)
        self.authorization = _basic(login) if login else ""

    def connect(self, host: str, port: int) -> Any:
        """A socket whose other end is the endpoint's. Raises Trouble, OSError."""
        end = time.monotonic() + limits.CONNECT_SECONDS
        what = f"the proxy {self.host} port {self.port} (HTTPS_PROXY)"
        sock = dial.dial([self.host], self.port, limits.CONNECT_SECONDS, what)
        try:
            place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
            if self.authorization:
                lines.append(f"Proxy-Authorization: {self.authorization}")
            sock.settimeout(limits.CONNECT_SECONDS)
            sock.sendall("\r\n".join([*lines, "", ""]).encode())
            _check(_read_head(sock, end), what, place)
        except BaseException:
            sock.close()
            raise
        return sock


def of(environ: Environment, host: str, port: int) -> Optional[Proxy]:
    """The proxy for an https endpoint; None: connect directly. Raises Trouble: a wrong URL.

    Lower-case names of variables come first, and a variable that is empty means none, as in curl
    and botocore.
    """
    url = environ.get("https_proxy", environ.get("HTTPS_PROXY", "")).strip()
    excepted = environ.get("no_proxy", environ.get("NO_PROXY", ""))
    return Proxy(url) if url and not _is_excepted(excepted, host, port) else None


def _is_excepted(excepted: str, host: str, port: int) -> bool:
    """Whether NO_PROXY names it, or a domain that it is in: names and addresses, `*` for all."""
    name = host.lower()
    for each in excepted.lower().split(","):
        pattern = each.strip().lstrip(".")
        if pattern == "*":
            return True
        for place in (name, f"{name}:{port}", f"[{name}]", f"[{name}]:{port}"):
            if pattern and (place == pattern or place.endswith(f".{pattern}")):
                return True
    return False


def _basic(login: str) -> str:
    from urllib.parse import unquote_to_bytes

    if ":" not in login:
        login += ":"  # The password is empty (RFC 7617, section 2).
    # Of bytes, and in base64: nothing in it can end the header.
    return "Basic " + binascii.b2a_base64(unquote_to_bytes(login), newline=False).decode()


def _read_head(sock: Any, end: float) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        left = end - time.monotonic()
        if left <= 0 or len(head) > limits.HEAD_BYTES:
            raise OSError(0, "the proxy does not answer as a proxy does")
        sock.settimeout(left)
        part = sock.recv(1 << 16)
        if not part:
            raise OSError(0, "the proxy has closed the connection")
        head += part
    return head


def _check(head: bytes, what: str, place: str) -> None:
    """Raise Trouble unless the proxy has connected, and has sent nothing else."""
    version, _, rest = head.partition(b" ")
    status = rest[:3].decode("ascii", "replace")
    if version in (b"HTTP/1.0", b"HTTP/1.1") and status.isdigit() and status[0] == "2":
        if head.endswith(b"\r\n\r\n") and head.count(b"\r\n\r\n") == 1:
            return
        # The endpoint speaks only after the client: these bytes would be somebody else's.
        raise Trouble(AWAY, "Proxy", f"{what} sends more than its answer")
    if status == "407":
        raise Trouble(AWAY, "Proxy", f"{what} wants a user and a password", _USAGE)
    shown = status if status.isdigit() else "no HTTP"
    raise Trouble(AWAY, "Proxy", f"{what} does not connect to {place}: {shown}", _USAGE)
