"""Whom a principal may push for: which OS users, on which instances, from where."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Union

from agent.config import patterns
from agent.sources.api.errors import AccessDeniedException, AuthException, NotAuthorized

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
# An instance's tags, where they are known: at a fleet's gateway.
Tags = Mapping[str, str]


@dataclass(frozen=True)
class Allow:
    """Whom a principal may push for. Names are patterns (patterns.matches).

    Without `sources` it may come from any address. `tags` has names and patterns of an instance's
    tags; all of them must match. Only a fleet's gateway knows tags: on a single host a principal
    with `tags` may push nothing.
    """

    os_users: tuple[str, ...]
    instances: tuple[str, ...] = ("*",)
    sources: tuple[Network, ...] = ()
    tags: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def check(self, source: str, instance: str, os_user: str, tags: Tags) -> None:
        """Raise NotAuthorized, AuthException or AccessDeniedException, in this order.

        `source` is the peer's IP address as text; `tags` are the instance's, as far as they are
        known.
        """
        self.check_source(source)
        if not self.may_reach(instance, tags):
            raise AuthException("These credentials may not push to this instance.")
        if not patterns.matches(os_user, self.os_users):
            raise AccessDeniedException("These credentials may not push a key for this OS user.")

    def check_source(self, source: str) -> None:
        """Raise NotAuthorized unless it may be used from this IP address."""
        if self.sources and not _within(source, self.sources):
            raise NotAuthorized(f"These credentials may not be used from {source}.")

    def may_reach(self, instance: str, tags: Tags) -> bool:
        """Whether it may push to this instance, for any OS user."""
        return patterns.matches(instance, self.instances) and all(
            name in tags and patterns.matches(tags[name], wanted) for name, wanted in self.tags
        )


def _within(source: str, networks: tuple[Network, ...]) -> bool:
    address = _address(source)
    return any(address in network for network in networks)


@lru_cache(maxsize=128)
def _address(source: str) -> Address:
    """The peer's address; an IPv4-mapped IPv6 address as IPv4."""
    address = ipaddress.ip_address(source)
    return getattr(address, "ipv4_mapped", None) or address
