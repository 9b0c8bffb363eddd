"""One HTTP request and its answer, over TCP or TLS, with a deadline.

`http.client` imports the package `email`, which takes longer than a push.
"""

from __future__ import annotations

import time

from agent.client import dial, limits
from agent.client.trouble import AWAY, Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

    from agent.client.web_proxy import Proxy

_IN_PATHS = dict.fromkeys(map(ord, "/-._~"), "x")


class Answer:
    """Status, headers (lower-case names) and body."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


class Address:
    """A URL's parts. Raises Trouble when the URL is not acceptable."""

    def __init__(self, url: str) -> None:
        scheme, _, rest = url.partition("://")
        self.authority, slash, path = rest.partition("/")
        self.path = slash + path or "/"
        host, colon, port = self.authority.rpartition(":")
        if not colon or port.endswith("]"):
            host, port = self.authority, {"http": "80", "https": "443"}.get(scheme, "")
        self.host = host.strip("[]")
        self.tls = scheme == "https"
        # Signatures have other characters of a path encoded, which nobody needs here.
        plain = self.path.isascii() and self.path.translate(_IN_PATHS).isalnum()
        good = scheme in ("http", "https") and plain and _number(port) and "@" not in rest
        if not self.host or not self.host.isprintable() or " " in self.host or not good:
            words = f"the endpoint {url!r} is not a URL such as https://keys.example:8060"
            raise Trouble(AWAY, "Endpoint", words)
        self.port = int(port)

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        # 127.0.0.1.example is a name, and may be anywhere.
        number = self.host.replace(".", "").isdigit() and self.host.startswith("127.")
        return number or self.host in {"localhost", "::1"}

    def check_private(self) -> None:
        """Raise Trouble for plain HTTP, unless the endpoint is on this machine."""
        if not self.tls and not self.is_local:
            raise Trouble(
                AWAY, "Endpoint", f"http to {self.host} could be read and changed in transit",
                "use https://, or http:// on this machine (127.0.0.1), through a tunnel",
            )  # fmt: skip


def post(
    address: Address,
    headers: dict[str, str],
    body: bytes,
    ca: Optional[str],
    proxy: Optional[Proxy] = None,
) -> Answer:
    """Send a POST; returns the answer. Raises Trouble: unreachable, untrusted, or not HTTP.

    `proxy`: connects to an endpoint with TLS.
    """
    end = time.monotonic() + limits.ANSWER_SECONDS
    what = f"{address.host} port {address.port}"
    sock: Any = _connect(address, proxy, what)
    try:
        sock.settimeout(limits.CONNECT_SECONDS)
        if address.tls:
            sock = _tls(sock, address.host, ca)
        head = f"POST {address.path} HTTP/1.1\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        sock.sendall(head.encode() + body)
        return _read(sock, end)
    except OSError as error:
        raise Trouble(AWAY, "Endpoint", f"{what}: {_words(error)}", _hint(error)) from None
    finally:
        sock.close()


def _connect(address: Address, proxy: Optional[Proxy], what: str) -> Any:
    if proxy is None:
        return dial.dial([address.host], address.port, limits.CONNECT_SECONDS, what)
    try:
        return proxy.connect(address.host, address.port)
    except OSError as error:
        words = f"{what}, by HTTPS_PROXY: {_words(error)}"
        raise Trouble(AWAY, "Proxy", words, "is it a proxy that takes CONNECT?") from None


def _tls(sock: Any, host: str, ca: Optional[str]) -> Any:
    import socket
    import ssl

    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise Trouble(AWAY, "Endpoint", f"ca: {ca}: {error.strerror or error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    whole = socket.socket(fileno=sock.detach())
    whole.settimeout(limits.CONNECT_SECONDS)
    try:
        return context.wrap_socket(whole, server_hostname=host)
    except BaseException:
        whole.close()
        raise


def _words(error: OSError) -> str:
    if isinstance(error, TimeoutError) or "timed out" in str(error):
        return f"no answer within {limits.ANSWER_SECONDS:.0f} s"
    return getattr(error, "verify_message", "") or error.strerror or str(error)


def _hint(error: OSError) -> str:
    if type(error).__name__ == "SSLCertVerificationError":
        return "its certificate is not trusted: set `ca` to the certificate that issued it"
    return "is it running, and is this its endpoint?"


def _read(sock: Any, end: float) -> Answer:
    received = b""
    while b"\r\n\r\n" not in received:
        received += _receive(sock, end)
        if len(received) > limits.HEAD_BYTES:
            break
    head, blank, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = [*first.split(" "), ""]
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    length = headers.get("content-length", "")
    if not blank or not first.startswith("HTTP/1.") or not _number(words[1]):
        raise OSError(0, "the endpoint does not speak HTTP")
    if not _number(length) or int(length) > limits.ANSWER_BYTES:
        raise OSError(0, "the endpoint sends an answer without a length")
    parts, left = [body], int(length) - len(body)
    while left > 0:
        parts.append(_receive(sock, end))
        left -= len(parts[-1])
    return Answer(int(words[1]), headers, b"".join(parts)[: int(length)])


def _number(text: str) -> bool:
    # isdigit() alone takes a raised 2 too; int() refuses that, and thousands of digits.
    return text.isascii() and text.isdigit() and len(text) < 16


def _receive(sock: Any, end: float) -> bytes:
    left = end - time.monotonic()
    if left <= 0:
        raise OSError(0, f"no complete answer within {limits.ANSWER_SECONDS:.0f} s")
    sock.settimeout(left)
    part = bytes(sock.recv(1 << 16))
    if not part:
        raise OSError(0, "it closed without an answer")
    return part
