"""Checks of single values: paths, addresses, URLs, public keys. Each raises ValueError.

No message quotes the value, so that the checks can be used for files with secrets too.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from typing import Optional

# RFC 3986 section 3.2: a host (an IPv6 address in brackets) and a port, and no user before them.
_AUTHORITY = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9.-]+))(?::(?P<port>[1-9][0-9]{0,4}))?",
    re.ASCII,
)
# A host name (RFC 1123 section 2.1). The last label has a letter: 127.1 is an IPv4 address.
_NAME = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*"
    r"(?=[A-Za-z0-9-]*[A-Za-z])[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?",
    re.ASCII,
)


def absolute_path(value: str) -> None:
    """An absolute path."""
    if not value.startswith("/") or "\0" in value:
        raise ValueError("must be an absolute path")


def path_or_none(value: str) -> None:
    """An absolute path, or the word `none`."""
    if value != "none":
        absolute_path(value)


def socket_path(value: str) -> None:
    """A path that a Unix socket can have."""
    absolute_path(value)
    # unix(7): sun_path has room for 108 bytes, the last of which is NUL.
    if len(value.encode()) > 107:
        raise ValueError("longer than the 107 bytes that a Unix socket's path can have")


def address(value: str) -> None:
    """An IP address."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise ValueError("must be an IP address") from None


def network(value: str) -> None:
    """An IP network, such as 10.0.0.0/8, or one address."""
    try:
        ipaddress.ip_network(value)
    except ValueError:
        raise ValueError(
            "must be a network such as 10.0.0.0/8, with no host bits set after the prefix"
        ) from None


def metadata_url(value: str) -> None:
    """`http://ADDRESS` or `http://ADDRESS:PORT`, where an IPv6 address stands in brackets.

    A host name is refused: its DNS server would decide who the metadata service is.
    """
    try:
        scheme, host, _ = _split_url(value)
        ipaddress.ip_address(host)
    except ValueError:
        scheme = ""
    if scheme != "http":
        raise ValueError("must be http://ADDRESS, such as http://169.254.169.254")


def server_url(value: str) -> None:
    """`tls://HOST:PORT`, or `nats://ADDRESS:PORT` with an address of the loopback interface."""
    try:
        scheme, host, port = _split_url(value)
    except ValueError:
        scheme, host, port = "", "", None
    if scheme not in {"tls", "nats"} or port is None:
        raise ValueError("must be tls://HOST:PORT, such as tls://bus-1.example:4222")
    if scheme == "nats" and not _is_loopback(host):
        raise ValueError("nats:// has no TLS and is only for loopback (127.0.0.1): use tls://")


def gateway_url(value: str) -> None:
    """`https://HOST` or `https://HOST:PORT`, without a path."""
    try:
        scheme, _, _ = _split_url(value)
    except ValueError:
        scheme = ""
    if scheme != "https":
        raise ValueError("must be https://HOST:PORT, such as https://gw-1.example:8443")


def _split_url(value: str) -> tuple[str, str, Optional[int]]:
    """Scheme, host or address, and port. Raises ValueError for anything else in a URL."""
    scheme, separator, authority = value.partition("://")
    match = _AUTHORITY.fullmatch(authority)
    if not separator or match is None:
        raise ValueError("not a URL of scheme, host and port")
    six, host, port = match.group("six", "host", "port")
    if six is not None:
        ipaddress.IPv6Address(six)
    elif not _NAME.fullmatch(host) or len(host) > 253:
        ipaddress.IPv4Address(host)
    if port is not None and int(port) > 65535:
        raise ValueError("the port is not valid")
    return scheme, six or host, None if port is None else int(port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def issuer(value: str) -> None:
    """`ed25519:` and the base64 (RFC 4648 section 4) of a public key of 32 bytes (RFC 8032)."""
    kind, _, encoded = value.partition(":")
    try:
        key = base64.b64decode(encoded.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        key = b""
    # One spelling for each key: no stray bits in the last character.
    if kind != "ed25519" or len(key) != 32 or base64.b64encode(key).decode() != encoded:
        raise ValueError("must be ed25519: and the base64 of 32 bytes")
