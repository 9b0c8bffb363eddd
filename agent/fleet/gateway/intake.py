"""A gateway's intake: sends each offer over the bus, as a signed lease, to the host it names."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Callable

from agent.config.key_policy import KeyPolicy
from agent.config.settings import Keys
from agent.fleet.bus.caller import Caller, NoAnswer, NobodyThere
from agent.fleet.directory.trust import CertificateBook, Issuers
from agent.fleet.gateway.replay import AnsweredPushes
from agent.fleet.messages import lease_exchange, refusals
from agent.fleet.messages.documents import Rejected
from agent.fleet.messages.lease_exchange import (
    NONCE_BYTES,
    Acknowledgement,
    Answer,
    LeaseMessage,
    Mark,
)
from agent.fleet.messages.signing import PrivateKey
from agent.host.clock import Clock
from agent.sources import lifetime
from agent.sources.intake import NotThisHost, Offer
from agent.sources.readiness import NotReady


@dataclass(frozen=True)
class Delivered:
    """A lease that a host has acknowledged."""

    request_id: str


class BusIntake:
    """Takes an offer by having its host take it."""

    def __init__(
        self,
        keys: Keys,
        caller: Caller,
        issuers: Callable[[], Issuers],
        certificates: CertificateBook,
        answered: AnsweredPushes,
        clock: Clock,
    ) -> None:
        self._keys = keys
        self._caller = caller
        self._issuers = issuers
        self._certificates = certificates
        self._answered = answered
        self._clock = clock

    async def take(self, offer: Offer) -> Delivered:
        """Send the offer to its host, and wait for the signed acknowledgement.

        Raises:
            KeyRejected: by the rules that all hosts share.
            NotThisHost: no such host is connected.
            NotReady: the host did not answer in time, or its answer is not genuine.
            refusals.REFUSALS: the error of the host's own intake.
        """
        offer.key.check(self._keys)
        issuers = self._issuers()
        lease = self._lease(offer, issuers.signer)
        sealed, digest = lease.seal_and_digest(issuers.signer)
        try:
            reply = await self._caller.ask(lease_exchange.SUBJECT + lease.host, sealed)
            answer = self._read(reply, lease.host, digest, issuers)
        except NobodyThere:
            raise NotThisHost(f"The instance {lease.host} is not connected.") from None
        except NoAnswer as error:
            raise NotReady(f"The instance {lease.host} did not answer: {error}.") from None
        except Rejected as error:
            raise NotReady(f"The answer of {lease.host} is not valid: {error}.") from None
        if not isinstance(answer, Acknowledgement):
            raise refusals.reason(answer)
        if offer.mark is not None:
            self._answered.remember(offer.mark, answer.request_id)
        return Delivered(answer.request_id)

    def _read(self, reply: bytes, host: str, lease: bytes, issuers: Issuers) -> Answer:
        """Verify the host's answer to the lease with this digest. Raises Rejected."""
        sealed, shown = lease_exchange.open_reply(reply)
        certificate = self._certificates.open(shown, host, issuers, self._clock.wall())
        return lease_exchange.open_answer(sealed, host, certificate.key, lease)

    def _lease(self, offer: Offer, signer: PrivateKey) -> LeaseMessage:
        now = int(self._clock.wall() * 1000)
        seconds = lifetime.decide(self._keys.lifetime, offer.policy.lifetime)
        mark = offer.mark
        return LeaseMessage(
            offer.instance,
            offer.os_user,
            f"{offer.key.type} {offer.key.base64}",
            issued_at=now,
            ends_at=now + seconds * 1000,
            nonce=secrets.token_bytes(NONCE_BYTES),
            issuer=signer.public,
            request_id=offer.request_id,
            principal=offer.principal,
            source=offer.source,
            conditions=_with_lifetime(offer.policy, seconds),
            zone=offer.zone,
            mark=None if mark is None else Mark(mark.digest, int(mark.dated * 1000)),
        )


# Cached: there are as many as credentials with rules of their own.
@lru_cache(maxsize=128)
def _with_lifetime(policy: KeyPolicy, seconds: int) -> KeyPolicy:
    """The policy with this lifetime, which every lease states."""
    return replace(policy, lifetime=seconds)
