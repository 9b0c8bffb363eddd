"""The connected hosts, each with its verified description.

The bus's list of hosts is only a hint: a dishonest server can hide a host, or list one that does
not exist. The data about a host is signed: its name and tags by an issuer, its SSH host keys by the
host itself.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Callable, Optional

import cachetools

from agent.config import patterns
from agent.config.fleet_limits import FLEET
from agent.fleet.bus.caller import Caller, NoAnswer, NobodyThere
from agent.fleet.bus.connection import BusConnection
from agent.fleet.directory import roster
from agent.fleet.directory.roster import Connection
from agent.fleet.directory.trust import CertificateBook, Issuers
from agent.fleet.messages import lease_exchange
from agent.fleet.messages.certificates import HostCertificate
from agent.fleet.messages.description import Description, Inquiry
from agent.fleet.messages.documents import Rejected
from agent.host.clock import Clock


@dataclass(frozen=True)
class KnownHost:
    """A host's verified answer, when it was asked (boot clock, s), and over which connection."""

    certificate: HostCertificate
    description: Description
    asked_at: float
    connection: Optional[Connection]


class Directory:
    """Asks the bus which hosts are connected, and each host for its description; caches both."""

    def __init__(
        self,
        bus: BusConnection,
        caller: Caller,
        issuers: Callable[[], Issuers],
        servers: Callable[[], int],
        clock: Clock,
    ) -> None:
        self.certificates = CertificateBook()
        self._bus = bus
        self._caller = caller
        self._issuers = issuers
        self._servers = servers
        self._clock = clock
        self._cache: cachetools.LRUCache[str, KnownHost] = cachetools.LRUCache(FLEET.certificates)
        self._connections: Mapping[str, Connection] = {}
        self._listed_at = float("-inf")
        # Made at first use: before Python 3.10 a lock belongs to the event loop that made it.
        self._listing: Optional[asyncio.Lock] = None

    async def connected(self) -> Mapping[str, Connection]:
        """Every host that is connected, by instance id. Raises NoAnswer."""
        if self._listing is None:
            self._listing = asyncio.Lock()
        async with self._listing:
            if self._clock.boottime() - self._listed_at >= FLEET.roster_seconds:
                client = self._bus.client
                if client is None:
                    raise NoAnswer("the bus is not reachable")
                self._connections = await roster.connections(client, self._servers())
                self._listed_at = self._clock.boottime()
                for gone in self._cache.keys() - self._connections.keys():
                    del self._cache[gone]
        return self._connections

    async def count(self) -> int:
        """The number of connected hosts, by the servers' own counts. Raises NoAnswer."""
        client = self._bus.client
        if client is None:
            raise NoAnswer("the bus is not reachable")
        return await roster.count(client, self._servers())

    async def tags(self, host: str) -> Mapping[str, str]:
        """The tags in a host's certificate; none when the host is not connected.

        Raises NoAnswer: the host may be connected, but did not answer.
        """
        try:
            return (await self._recall_or_ask(host, None)).certificate.tags
        except NobodyThere:
            return {}

    async def describe(
        self, connections: Iterable[Connection]
    ) -> Sequence[tuple[Connection, KnownHost]]:
        """Describe each of these hosts; those that do not answer are left out."""
        turns = asyncio.Semaphore(FLEET.parallel_requests)

        async def one(connection: Connection) -> Optional[tuple[Connection, KnownHost]]:
            async with turns:
                try:
                    return connection, await self._recall_or_ask(connection.host, connection)
                except (NobodyThere, NoAnswer):
                    return None

        found = await asyncio.gather(*map(one, connections))
        return [each for each in found if each is not None]

    async def _recall_or_ask(self, host: str, connection: Optional[Connection]) -> KnownHost:
        """The host's recent answer over this connection. Raises NobodyThere, NoAnswer."""
        now, known = self._clock.boottime(), self._cache.get(host)
        fresh = known is not None and now - known.asked_at < FLEET.description_seconds
        if known is not None and fresh and connection in (None, known.connection):
            try:
                known.certificate.check(self._clock.wall(), self._issuers().revoked)
                return known
            except Rejected:
                pass  # it was removed or left: it may have joined again, with other keys
        found = self._cache[host] = await self._ask(host, connection)
        return found

    async def _ask(self, host: str, connection: Optional[Connection]) -> KnownHost:
        issuers, wall = self._issuers(), self._clock.wall()
        inquiry = Inquiry(host, int(wall * 1000), secrets.token_bytes(lease_exchange.NONCE_BYTES))
        sealed = inquiry.seal(issuers.signer)
        asked_at = self._clock.boottime()
        reply = await self._caller.ask(lease_exchange.SUBJECT + host, sealed)
        try:
            answer, shown = lease_exchange.open_reply(reply)
            certificate = self.certificates.open(shown, host, issuers, wall)
            digest = lease_exchange.digest(sealed)
            description = Description.open(answer, host, certificate.key, digest)
        except Rejected as error:
            raise NoAnswer(f"the answer of {host} is not valid: {error}") from None
        return KnownHost(certificate, description, asked_at, connection)


def filter_by_name(connections: Iterable[Connection], names: Sequence[str]) -> list[Connection]:
    """Connections whose id or name matches a pattern, in order of id; all without a pattern.

    The name is the connector's claim: compare the certificate before showing a host.
    """
    found = sorted(connections, key=lambda each: each.host)
    if not names:
        return found
    return [
        each
        for each in found
        if patterns.matches(each.host, names) or patterns.matches(each.name, names)
    ]
