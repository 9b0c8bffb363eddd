"""Hosts as they are shown: over the network as Sixtykey.Hosts, and by `sixtykey fleet hosts`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable

from agent.config import patterns
from agent.config.fleet_limits import FLEET
from agent.fleet.directory.directory import Directory, KnownHost, filter_by_name
from agent.fleet.directory.roster import Connection

Visible = Callable[[KnownHost], bool]
"""Whether the caller may see a host."""


async def page(
    directory: Directory, names: Sequence[str], after: str, most: int, visible: Visible
) -> tuple[list[dict[str, Any]], str]:
    """The next hosts in order of id, and the last id; "" when no more follow.

    Args:
        names: patterns of ids or names; empty for all hosts.
        after: the last id of the previous page; "" for the first page.
        most: the most hosts on a page.
    Raises:
        NoAnswer: the bus does not list its connections.
    """
    known = (await directory.connected()).values()
    left = [each for each in filter_by_name(known, names) if each.host > after]
    shown: list[dict[str, Any]] = []
    while left and len(shown) < most:
        batch, left = left[: FLEET.parallel_requests], left[FLEET.parallel_requests :]
        for connection, host in await directory.describe(batch):
            if len(shown) == most:
                return shown, str(shown[-1]["InstanceId"])
            if _fits(host, names) and visible(host):
                shown.append(describe(connection, host))
    return shown, str(shown[-1]["InstanceId"]) if left else ""


def describe(connection: Connection, known: KnownHost) -> dict[str, Any]:
    """One host, for people and programs."""
    certificate, description = known.certificate, known.description
    return {
        "InstanceId": certificate.host,
        "Name": certificate.name,
        "AvailabilityZone": description.zone,
        "Tags": dict(certificate.tags),
        "Addresses": list(description.addresses),
        "HostKeys": list(description.host_keys),
        "Lifetime": description.lifetime,
        "Uses": description.uses,
        "Version": description.version,
        "ConnectedSince": connection.since,
    }


def _fits(known: KnownHost, names: Sequence[str]) -> bool:
    certificate = known.certificate
    return not names or any(
        patterns.matches(each, names) for each in (certificate.host, certificate.name)
    )
