"""The one way in: turns an offered key into a lease, or refuses it.

The sources are the HTTP API, the local push socket, EC2's metadata, and a fleet's bus. A source
decides who offers and whether they may; this module applies the host's own policy: which host this
is, which users nobody may push for, which keys are accepted, how long they live, and that nothing
is live before it is durable. It knows no HTTP and has its own errors.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Optional

from agent.config import patterns
from agent.config.key_policy import KeyPolicy
from agent.leases.keys import PublicKey
from agent.leases.lease import Lease, ReplayMark
from agent.leases.store import LeaseStore
from agent.sources import lifetime
from agent.sources.context import Context


class UserDenied(Exception):
    """Nobody may push a key for this OS user."""


class NotThisHost(Exception):
    """The offer names another instance, or another zone."""


@dataclass(frozen=True)
class Offer:
    """A key that is offered for one OS user of one instance.

    Attributes:
        principal: who offers it: an access key id, uid:N, a role's ARN.
        source: where it comes from: an IP address, "unix", or the source's name.
        request_id: a UUID that this process made; it becomes the comment in sshd's line.
        zone: the Availability Zone in the offer; None if it has none.
        lifetime: seconds that the source grants; None for the host's own lifetime.
        policy: the principal's own rules for its keys; they can only be tighter than the host's.
        mark: identifies a repeated offer; None if it cannot be repeated.
        sharer: whose share of the replay memory it takes; None for the principal's.
    """

    os_user: str
    instance: str
    key: PublicKey
    principal: str
    source: str
    request_id: str
    zone: Optional[str] = None
    lifetime: Optional[float] = None
    mark: Optional[ReplayMark] = None
    policy: KeyPolicy = field(default_factory=KeyPolicy)
    sharer: Optional[str] = None


class Intake:
    """Takes offers, one at a time: callers of `take` hold the context's turn."""

    def __init__(self, context: Context, store: LeaseStore) -> None:
        self._context = context
        self._keys = context.config.keys
        self._store = store

    async def take(self, offer: Offer) -> Lease:
        """Make it a lease: durable first, then live.

        Raises:
            KeyRejected, UserDenied, NotThisHost: the host's policy, checked in this order.
            TableFull: no room; it says how long to wait.
            NotDurable: it could not be made durable, and was not taken.
        """
        self._check_policy(offer)
        lease = self._lease(offer)
        await self._store.add(lease)
        self._context.audit.history.record_push(lease)
        return lease

    def explain(self, restored: Iterable[Lease]) -> None:
        """Remember an earlier process's leases: they explain refusals after their end."""
        history = self._context.audit.history
        for lease in restored:
            history.record_push(lease)
            used = self._store.consumption(lease.request_id)
            if used is not None:
                history.record_use(lease, used.source, used.at)
            revoked = self._store.revoked_unread(lease.request_id)
            if revoked is not None:
                history.record_revocation(lease, revoked)

    def _check_policy(self, offer: Offer) -> None:
        identity = self._context.identity
        offer.key.check(self._keys)
        if patterns.matches(offer.os_user, self._keys.deny_users):
            raise UserDenied("Nobody may push a key for this OS user.")
        if offer.instance != identity.instance_id:
            raise NotThisHost("This host is not that instance.")
        if offer.zone is not None and offer.zone != identity.availability_zone:
            raise NotThisHost("This instance is not in that Availability Zone.")

    def _lease(self, offer: Offer) -> Lease:
        now = self._context.clock.boottime()
        policy, host = offer.policy, self._keys
        seconds = lifetime.decide(host.lifetime, offer.lifetime, policy.lifetime)
        return Lease(
            offer.os_user,
            offer.key,
            offer.request_id,
            offer.principal,
            offer.source,
            pushed_at=now,
            expires_at=now + seconds,
            mark=offer.mark,
            uses=1 if "once" in (host.uses, policy.uses) else None,
            options=policy.options,
            pinned_source=pin(offer.source) if policy.pin_source else None,
            sharer=offer.sharer,
        )


def pin(source: str) -> str:
    """The value of `from=` for a push from this IP address: it, or the /64 of an IPv6 address.

    Hosts change the second half of their IPv6 address (RFC 8981), possibly between a push and its
    login; the first half is the network's. Raises ValueError: not an IP address.
    """
    address = ipaddress.ip_address(source.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None or address.version == 4:
        return str(mapped or address)
    return str(ipaddress.ip_network((address, 64), strict=False))
