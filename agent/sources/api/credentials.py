"""Access keys, and what each may do: for which OS users, on which instances, from where.

The file is a YAML list (see README). It holds secrets: nobody but its owner and group may read it.
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any, Optional, Union

from agent.config import document, patterns
from agent.config.document import Problems, Section
from agent.sources.api.errors import (
    AccessDeniedException,
    AuthException,
    InvalidClientTokenId,
    NotAuthorized,
    OptInRequired,
)

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
# What can stand in a credential scope, before its first slash.
_ACCESS_KEY_ID = re.compile(r"[A-Za-z0-9_]{4,128}", re.ASCII)
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Allow:
    """Whom a credential may push for. Names are glob patterns (`*`, `?`, `[…]`), case counts."""

    os_users: tuple[str, ...]
    instances: tuple[str, ...] = ("*",)
    sources: tuple[Network, ...] = ()


@dataclass(frozen=True)
class Credential:
    """One access key. `expires` is in seconds since the Unix epoch."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    allow: Allow
    session_token: Optional[str] = field(default=None, repr=False)
    enabled: bool = True
    expires: Optional[float] = None

    def check_active(self, now: float) -> None:
        """Raise OptInRequired when disabled or expired at `now` (wall clock, s)."""
        if not self.enabled:
            raise OptInRequired("This access key is disabled.")
        if self.expires is not None and now >= self.expires:
            raise OptInRequired("This access key has expired.")

    def check_allowed(self, source: str, instance: str, os_user: str) -> None:
        """Raise NotAuthorized, AuthException or AccessDeniedException, in this order.

        `source` is the peer's IP address as text.
        """
        if self.allow.sources and not _within(source, self.allow.sources):
            raise NotAuthorized(f"These credentials may not be used from {source}.")
        if not patterns.matches(instance, self.allow.instances):
            raise AuthException("These credentials may not push to this instance.")
        if not patterns.matches(os_user, self.allow.os_users):
            raise AccessDeniedException("These credentials may not push a key for this OS user.")


class Credentials:
    """Every access key that is known, by its id."""

    def __init__(self, credentials: Iterable[Credential]) -> None:
        self._by_id = {credential.access_key_id: credential for credential in credentials}

    def __len__(self) -> int:
        """How many access keys there are."""
        return len(self._by_id)

    def __contains__(self, access_key_id: object) -> bool:
        """Whether there is an access key of this id."""
        return access_key_id in self._by_id

    def __iter__(self) -> Iterator[Credential]:
        """All of them, in the file's order."""
        return iter(self._by_id.values())

    def find(self, access_key_id: str) -> Credential:
        """The credential. Raises InvalidClientTokenId when there is none of this id."""
        try:
            return self._by_id[access_key_id]
        except KeyError:
            raise InvalidClientTokenId("The access key ID is not known here.") from None


def load(path: str) -> Credentials:
    """Read the credentials file.

    Raises:
        Problems: others may read or change it, it cannot be read, or anything in it will not do.
    """
    try:
        # Opened before it is looked at: what is checked is what is read.
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            text = file.read(document.MAX_BYTES + 1)
    except OSError as error:
        raise Problems([f"{path}: {error.strerror}"]) from None
    mode = found.st_mode
    if found.st_uid not in {0, os.geteuid()}:
        raise Problems([f"{path}: belongs to another user; run: chown root {path}"])
    if not stat.S_ISREG(mode) or mode & 0o027:
        raise Problems([f"{path}: others may read or change it; run: chmod 0640 {path}"])
    return parse(text, path)


def parse(text: Union[str, bytes], name: str) -> Credentials:
    """Credentials from YAML text; `name` is what messages call it. Raises Problems."""
    entries: Any = document.parse(text, name)
    if entries is None:
        entries = []
    if not isinstance(entries, list):
        raise Problems([f"{name}: must be a list of credentials"])
    problems: list[str] = []
    credentials: dict[str, Credential] = {}
    for index, entry in enumerate(entries):
        section = Section(entry, f"[{index}]", problems)
        credential = _credential(section)
        if credential.access_key_id in credentials:
            section.problem("access_key_id", "stands here twice")
        credentials[credential.access_key_id] = credential
    if problems:
        raise Problems(f"{name}: {problem}" for problem in problems)
    return Credentials(credentials.values())


def _credential(section: Section) -> Credential:
    access_key_id = section.text("access_key_id", "", _access_key_id)
    secret = section.text("secret_access_key", "")
    for key, value in (("access_key_id", access_key_id), ("secret_access_key", secret)):
        section.require(key, value)
    expires = section.text("expires", None, _expires)
    credential = Credential(
        access_key_id or f"({section.path})",
        secret,
        _allow(section),
        session_token=section.text("session_token", None),
        enabled=section.boolean("enabled", True),
        expires=None if expires is None else _expires(expires),
    )
    section.end()
    return credential


def _allow(parent: Section) -> Allow:
    section = parent.section("allow")
    os_users = section.texts("os_users", ())
    section.require("os_users", os_users)
    instances = section.texts("instances", ("*",))
    sources = section.texts("sources", (), check=ipaddress.ip_network)
    section.end()
    return Allow(os_users, instances, tuple(map(ipaddress.ip_network, sources)))


def _access_key_id(value: str) -> None:
    if not _ACCESS_KEY_ID.fullmatch(value):
        raise ValueError("must be 4 to 128 letters, digits and _")


def _expires(value: str) -> float:
    try:
        return datetime.strptime(value, _TIME).replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        raise ValueError(
            f"must be a UTC time such as 2027-01-01T00:00:00Z, not {value!r}"
        ) from None


def _within(source: str, networks: tuple[Network, ...]) -> bool:
    address = _address(source)
    return any(address in network for network in networks)


@lru_cache(maxsize=128)
def _address(source: str) -> Address:
    """The peer's address; IPv4 where an IPv6 socket had it mapped."""
    address = ipaddress.ip_address(source)
    return getattr(address, "ipv4_mapped", None) or address
