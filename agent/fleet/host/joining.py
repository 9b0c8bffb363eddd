"""A host's requests to a gateway, over TLS. Its token or its own file names the authority.

The gateway may be anybody: whatever it answers, and whatever the URL and the authority's file are,
the only errors are NoGateway and Rejected, each with a line for people.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Optional
from urllib.parse import urlsplit

from agent.config import checks
from agent.config.fleet_limits import FLEET
from agent.fleet.home import authority
from agent.fleet.messages.documents import Rejected
from agent.fleet.messages.fields import printable
from agent.fleet.messages.membership import Membership
from agent.fleet.messages.signing import PublicKey

# The most bytes of a state, and how long it may take (s).
_STATE = (2 * FLEET.file_bytes, FLEET.peer_seconds)


class NoGateway(Exception):
    """The gateway cannot be reached or used; the text says why."""


def fetch_authority(url: str, fingerprint: bytes) -> str:
    """The authority of the gateway at `url`, as PEM, if it has this SHA-256.

    This connection itself is not verified: only the certificate's fingerprint is trusted.

    Raises:
        NoGateway: it does not answer, or shows another authority.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    shown = _exchange(url, "GET", "/fleet/ca", None, context).get("ca")
    try:
        if isinstance(shown, str) and authority.fingerprint(shown) == fingerprint:
            return shown
    except ValueError:
        pass
    raise NoGateway(
        f"{url} shows another authority than the token names: it is not the gateway of the "
        "token, or somebody intercepts the connection"
    )


def ask_time(url: str, ca: str) -> float:
    """The gateway's wall clock (s). Raises NoGateway: it does not answer, or is an older one."""
    try:
        told = _exchange(url, "GET", "/fleet/ca", None, _context(ca)).get("now")
    except Rejected as error:
        raise NoGateway(f"{url}: {error}") from None
    if type(told) is not int or not 0 <= told <= FLEET.last_time_ms:
        raise NoGateway(f"{url} does not say what time it is: its version may be older")
    return told / 1000


@dataclass(frozen=True)
class GatewayState:
    """What a gateway uses: the account's token, the SHA-256 of its facts (hex), its issuer."""

    account: str
    facts: str
    issuer: str


def fetch_state(url: str, ca: str) -> GatewayState:
    """Ask the gateway at `url` what it uses. Raises NoGateway."""
    try:
        told = _exchange(url, "GET", "/fleet/state", None, _context(ca), _STATE)
    except Rejected as error:
        raise NoGateway(f"{url}: {error}") from None
    found = [told.get(name) for name in ("account", "facts", "issuer")]
    if not all(isinstance(each, str) for each in found):
        raise NoGateway(f"{url} does not say what it goes by")
    return GatewayState(*map(str, found))


def ask(url: str, kind: str, request: bytes, ca: str) -> Optional[bytes]:
    """The gateway's answer to a host's request: a sealed membership, or None for a leave.

    Args:
        kind: join, renew or leave.
        ca: the authority's certificate, as PEM.
    Raises:
        NoGateway: it cannot be asked.
        Rejected: it refuses; the text is the gateway's.
    """
    answer = _exchange(url, "POST", f"/fleet/{kind}", request, _context(ca))
    membership = answer.get("membership")
    return membership.encode() if isinstance(membership, str) else None


def enter(url: str, kind: str, request: bytes, ca: str, issuers: set[PublicKey]) -> Membership:
    """Ask for a membership, and verify its issuer. Raises NoGateway and Rejected."""
    answer = ask(url, kind, request, ca)
    if answer is None:
        raise NoGateway(f"{url} answers without a membership")
    return Membership.open(answer, issuers, request)


def _context(ca: str) -> ssl.SSLContext:
    """The TLS context that trusts this authority only. Raises NoGateway."""
    try:
        # Without a certificate, Python would trust every authority that the system knows.
        if not ca.strip() or not ca.isascii():
            raise ValueError("it is not in PEM")
        return ssl.create_default_context(cadata=ca)
    except (ssl.SSLError, ValueError) as error:
        raise NoGateway(
            f"the authority's certificate (ca.pem) cannot be used: {error}; sixtykey fleet leave, "
            "and join again"
        ) from None


@contextmanager
def _connect(
    host: str, port: int, context: ssl.SSLContext, seconds: float
) -> Iterator[ssl.SSLSocket]:
    """A TLS connection that ends after `seconds`, however slowly the other side sends.

    A socket's own timeout begins again with each byte. Raises OSError.
    """
    with socket.create_connection((host, port), seconds) as plain:
        tls = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
    timer = threading.Timer(seconds, _cut, [tls])
    timer.daemon = True
    timer.start()
    try:
        tls.do_handshake()
        yield tls
    finally:
        timer.cancel()
        tls.close()


def _cut(tls: ssl.SSLSocket) -> None:
    """End the connection under the thread that reads from it."""
    with suppress(OSError):
        socket.socket.shutdown(tls, socket.SHUT_RDWR)


def _exchange(
    url: str,
    method: str,
    path: str,
    body: Optional[bytes],
    context: ssl.SSLContext,
    limits: tuple[int, float] = (FLEET.gateway_bytes, FLEET.gateway_seconds),
) -> dict[str, Any]:
    """Send one request on a new connection. Raises NoGateway and Rejected."""
    host, port = _address(url)
    connection = http.client.HTTPSConnection(host, port, context=context)
    most, seconds = limits
    try:
        with _connect(host, port, context, seconds) as connection.sock:
            connection.request(method, path, body)
            response = connection.getresponse()
            answer = _parse(response.read(most))
        if response.status != http.client.OK:
            # The gateway may be anybody's, and its words may reach a log.
            words = str(answer.get("error") or f"{url} answers {response.status}")
            raise Rejected(printable(words))
        return answer
    except (OSError, http.client.HTTPException) as error:
        # First: a certificate that does not verify is both an OSError and a ValueError.
        words = str(error) or type(error).__name__
        raise NoGateway(f"{url} cannot be used: {printable(words)}") from None
    except (ValueError, RecursionError):
        raise NoGateway(
            f"{url} does not answer as a gateway does: is it the URL that `fleet token` printed?"
        ) from None
    finally:
        connection.close()


def _address(url: str) -> tuple[str, int]:
    """Host and port. Raises NoGateway."""
    try:
        checks.gateway_url(url)
        parts = urlsplit(url)
        return str(parts.hostname), parts.port or 443
    except ValueError:
        raise NoGateway(
            f"a gateway's URL is https://NAME or https://NAME:PORT, and {url!r} is not"
        ) from None


def _parse(text: bytes) -> dict[str, Any]:
    """The members of a gateway's answer. Raises ValueError and RecursionError."""
    answer = json.loads(text)
    if not isinstance(answer, dict):
        raise ValueError("not an object")
    # JSON can write half a character, which nothing else here can (RFC 8259, section 8.2).
    json.dumps(answer, ensure_ascii=False).encode()
    return answer
