"""Decides who belongs to the fleet: a host's request in, its membership or a refusal out.

To join, a host needs the registry, which lists the hosts and counts the uses of join tokens. So a
fleet has one gateway where hosts join. To renew, no registry is needed: the host shows its
certificate, and the account's token lists the hosts that were removed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable, NamedTuple, Optional, Protocol

from agent.config.fleet_limits import FLEET
from agent.fleet.bus import roles
from agent.fleet.bus.jwt import Times
from agent.fleet.bus.nkeys import KeyPair
from agent.fleet.messages import membership
from agent.fleet.messages.certificates import HostCertificate
from agent.fleet.messages.documents import Rejected
from agent.fleet.messages.membership import HostRequest, Membership
from agent.fleet.messages.signing import PrivateKey, PublicKey
from agent.fleet.messages.tokens import JoinToken

# Why keys cannot be used to join; the argument is the instance id.
NEW_KEYS = (
    "the keys are those of {}, which left the fleet, was removed, or is another host: delete "
    "connector.nk and host.key in /etc/sixtykey/fleet here, so that new ones are made, and join "
    "again"
)


@dataclass(frozen=True)
class Joined:
    """A host in the registry: its certificate, and the id of the token with which it joined."""

    certificate: HostCertificate
    token: bytes


class Enrolled(NamedTuple):
    """The host whose request was accepted, by its instance id; its membership, none if it left."""

    host: str
    membership: Optional[bytes]


class Registry(Protocol):
    """The list of hosts that have joined. Each method is atomic."""

    def join(self, host: Joined, uses: int) -> None:
        """Add the host, if the token has a use left and no other host has this id.

        A host that asks again, with the same keys and token, does not count again. Keys that were
        those of a host that left, or are another's, are not accepted. Raises Rejected.
        """

    def renew(self, certificate: HostCertificate) -> None:
        """Store a host's new certificate. Raises Rejected: the host was removed, or has left."""

    def leave(self, certificate: HostCertificate, now: float) -> None:
        """Record that the host has left; another may join with its id. Raises Rejected."""


@dataclass(frozen=True)
class Fleet:
    """What a gateway needs to know about its fleet to enrol hosts.

    `issuers` are the keys whose leases hosts accept; `issuer` is the one that signs. `signer` signs
    hosts' tokens for the bus, within its scope. `url` is where hosts join, `ca` the authority in
    DER.
    """

    issuer: PrivateKey
    issuers: tuple[PublicKey, ...]
    signer: KeyPair
    account: str
    url: str
    servers: tuple[str, ...]
    gateways: tuple[str, ...]
    ca: bytes


class Enrolment:
    """Answers hosts' requests.

    `fleet` is called for each request, since keys and facts change while a gateway runs. `revoked`
    gives the removed hosts, by nkey: what was issued for them up to the given time (s) is void.
    """

    def __init__(
        self,
        fleet: Callable[[], Fleet],
        registry: Optional[Registry],
        revoked: Callable[[], Mapping[str, int]],
    ) -> None:
        self._fleet = fleet
        self._registry = registry
        self._revoked = revoked

    def join(self, text: bytes, now: float) -> Enrolled:
        """Give a membership to a host with a valid token. `now`: wall clock, s. Raises Rejected."""
        if self._registry is None:
            raise Rejected("hosts join at another gateway: the one that the token names")
        request = HostRequest.open(text, membership.JOIN, now)
        fleet = self._fleet()
        token, _ = JoinToken.parse(request.voucher, {fleet.issuer.public})
        token.check(request.host, request.name, fleet.url, now)
        made = _certificate(request, request.name, token.tags, now)
        if made.is_revoked(self._revoked()):
            raise Rejected(NEW_KEYS.format(made.host))
        self._registry.join(Joined(made, token.id), token.uses)
        return Enrolled(made.host, _membership(fleet, text, made, now))

    def renew(self, text: bytes, now: float) -> Enrolled:
        """Give a membership that begins now, with the same name and tags. Raises Rejected."""
        request = HostRequest.open(text, membership.RENEWAL, now)
        fleet = self._fleet()
        before = _open_certificate(fleet, request)
        before.check(now, self._revoked(), FLEET.grace_seconds)
        made = _certificate(request, before.name, before.tags, now)
        if self._registry is not None:
            self._registry.renew(made)
        return Enrolled(made.host, _membership(fleet, text, made, now))

    def leave(self, text: bytes, now: float) -> Enrolled:
        """Record in the registry that the host has left. Raises Rejected."""
        if self._registry is None:
            raise Rejected("hosts leave at the gateway where they joined")
        request = HostRequest.open(text, membership.LEAVE, now)
        self._registry.leave(_open_certificate(self._fleet(), request), now)
        return Enrolled(request.host, None)


def _open_certificate(fleet: Fleet, request: HostRequest) -> HostCertificate:
    """The certificate in the request, which must name the same host and keys."""
    shown = HostCertificate.open(request.voucher.encode(), fleet.issuers)
    if (shown.host, shown.key, shown.nkey) != (request.host, request.key, request.nkey):
        raise Rejected("the certificate is for another host, or for other keys")
    return shown


def _certificate(
    request: HostRequest, name: str, tags: Mapping[str, str], now: float
) -> HostCertificate:
    return HostCertificate(
        request.host,
        name,
        request.key,
        request.nkey,
        tags,
        issued_at=int(now * 1000),
        ends_at=int((now + FLEET.membership_seconds) * 1000),
    )


def _membership(fleet: Fleet, request: bytes, certificate: HostCertificate, now: float) -> bytes:
    times = Times(int(now), certificate.ends_at // 1000)
    token = roles.user(fleet.signer, fleet.account, certificate.host, certificate.nkey, times)
    return Membership(
        hashlib.sha256(request).digest(),
        certificate.seal(fleet.issuer).decode("ascii"),
        token,
        fleet.issuers,
        fleet.servers,
        fleet.gateways,
        fleet.ca,
    ).seal(fleet.issuer)
