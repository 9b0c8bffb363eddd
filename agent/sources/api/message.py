"""Requests and responses as values, between the HTTP shell and the doors."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Optional

from agent.sources.api.errors import ApiError, ThrottlingException, ValidationError

LOCAL = "unix"
CONTENT_TYPE = "application/x-amz-json-1.1"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Headers that matter for a decision: each may appear once, and must be signed. Content-Type does
# not matter: some signers leave it unsigned, and AWS accepts that too.
DECIDING = (b"x-amz-date", b"x-amz-target", b"x-amz-security-token", b"x-amz-content-sha256")


@dataclass(frozen=True)
class Peer:
    """The peer of a connection.

    Attributes:
        source: the IP address, or "unix" on the local push socket.
        uid: the peer's user id there (SO_PEERCRED, unix(7)), else None.
        tls: version and cipher, such as "TLSv1.3 TLS_AES_256_GCM_SHA384", else None.
        certificate: the subject of a verified client certificate, else None.
        certificate_demanded: the listener takes no client without one.
    """

    source: str
    uid: Optional[int] = None
    tls: Optional[str] = None
    certificate: Optional[str] = None
    certificate_demanded: bool = False


# Cached: a client sends many requests, and each asks several times.
@lru_cache(maxsize=1024)
def one_source(address: str) -> str:
    """What counts as one source: an IPv4 address, or an IPv6 /64 (the usual share of one host).

    "unix", the local push socket, is one source.
    """
    if address == LOCAL:
        return address
    ip = ipaddress.ip_address(address.partition("%")[0])
    if ip.version == 4:
        return str(ip)
    return str(ip.ipv4_mapped or ipaddress.ip_network((ip, 64), strict=False))


@dataclass(frozen=True)
class Request:
    """One HTTP request: `target` and header values are the bytes as they were sent.

    Header names are in lower case, values without white space around them (RFC 9110 section 5.5).
    `request_id` is a UUID that the door gives it; the lease of a push gets the same.
    """

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    peer: Peer
    request_id: str = ""

    @property
    def path(self) -> bytes:
        """The raw target up to its query string."""
        return self.target.partition(b"?")[0]

    @property
    def query(self) -> bytes:
        """The raw query string of the target; empty if it has none."""
        return self.target.partition(b"?")[2]

    def values(self, name: bytes) -> list[bytes]:
        """Every value of the header `name` (lower case), in order."""
        return self._by_name.get(name, [])

    @cached_property
    def _by_name(self) -> dict[bytes, list[bytes]]:
        # Called some twenty times for each request.
        found: dict[bytes, list[bytes]] = {}
        for name, value in self.headers:
            found.setdefault(name, []).append(value)
        return found

    def text(self, name: bytes) -> Optional[str]:
        """The first value of the header `name`, as text for people and logs."""
        values = self.values(name)
        return values[0].decode("ascii", "backslashreplace") if values else None


@dataclass(frozen=True)
class Response:
    """An answer: `body` as JSON, unless there is `text`."""

    status: int
    body: dict[str, Any]
    headers: tuple[tuple[str, str], ...] = ()
    text: Optional[str] = None

    @property
    def content(self) -> bytes:
        """The text, or the body as JSON."""
        return (json.dumps(self.body) if self.text is None else self.text).encode()

    @property
    def content_type(self) -> str:
        """What `content` is."""
        return CONTENT_TYPE if self.text is None else METRICS_TYPE


def read_members(body: bytes, *known: str) -> dict[str, Any]:
    """The members of an action of ours; no body is an object without any.

    Raises ValidationError: it is not a JSON object, or has members other than the known ones.
    """
    try:
        members: Any = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise ValidationError("The request body is not JSON.") from None
    if not isinstance(members, dict):
        raise ValidationError("The request body must be a JSON object.")
    for name in members:
        if name not in known:
            raise ValidationError(f"{name[:64]!r} is not a member of this action.")
    return members


def success(request_id: str, body: dict[str, Any]) -> Response:
    """200, the request id in a header too."""
    return Response(200, body, (("x-amzn-RequestId", request_id),))


def refusal(error: ApiError, request_id: str) -> Response:
    """An error in the reference's shape.

    botocore takes the code from `__type`, other SDKs from x-amzn-ErrorType: both are sent.
    """
    headers = [("x-amzn-RequestId", request_id), ("x-amzn-ErrorType", error.code)]
    if isinstance(error, ThrottlingException):
        headers.append(("x-amz-retry-after", str(int(error.retry_after * 1000) + 1)))
    body = {"__type": error.code, "Message": error.message}
    return Response(error.status, body, tuple(headers))
