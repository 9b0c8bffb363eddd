"""A gateway's intake: sends each offer over the bus, as a signed lease, to the host it names."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import Callable, Optional

import cachetools

from agent.config.limits import LIMITS
from agent.config.settings import Keys
from agent.fleet import messages, refusals
from agent.fleet.caller import Caller, NoAnswer, NobodyThere
from agent.fleet.documents import Rejected
from agent.fleet.messages import NONCE_BYTES, Acknowledgement, LeaseMessage, Mark
from agent.fleet.signing import PrivateKey
from agent.fleet.trust import CertificateBook, Issuers
from agent.host.clock import Clock
from agent.leases.keys import PublicKey as SshKey
from agent.leases.lease import ReplayMark
from agent.leases.turns import Turns
from agent.sources.intake import Candidate, NotReady, NotThisHost, Offer

_LIFETIME = 60


@dataclass(frozen=True)
class Delivered:
    """A lease that a host has acknowledged."""

    request_id: str


class BusIntake:
    """Takes an offer by having its host take it.

    Only the host knows whether a push was taken before, since another gateway may have sent it. The
    memory here only saves the host, and the principal's rate, a flood of repetitions.
    """

    def __init__(
        self,
        keys: Keys,
        caller: Caller,
        issuers: Callable[[], Issuers],
        certificates: CertificateBook,
        clock: Clock,
    ) -> None:
        self._keys = keys
        self._types = frozenset(keys.types)
        self._caller = caller
        self._issuers = issuers
        self._clock = clock
        self._taken: cachetools.LRUCache[bytes, str] = cachetools.LRUCache(LIMITS.remembered_marks)
        self._certificates = certificates

    def check_ready(self, longest_turn: float) -> None:
        """Raise NotReady while there is no connection to the bus."""
        del longest_turn
        if not self._caller.ready:
            raise NotReady("The fleet's bus is not reachable from this gateway. Try again.")

    def recall(self, mark: ReplayMark) -> Optional[str]:
        """The request id under which this offer was taken before, if it is remembered here."""
        return self._taken.get(mark.digest)

    def check(self, offer: Offer) -> Candidate:
        """Check the key by the rules that all hosts share. Raises KeyRejected."""
        key = SshKey.parse(offer.key, types=self._types, rsa_min_bits=self._keys.rsa_min_bits)
        return Candidate(offer, key)

    async def take(self, candidate: Candidate) -> Delivered:
        """Send the offer to its host, and wait for the signed acknowledgement.

        Raises:
            NotThisHost: no such host is connected.
            NotReady: the host did not answer in time, or its answer is not genuine.
            refusals.REFUSALS: the error of the host's own intake.
        """
        issuers = self._issuers()
        lease = self._lease(candidate, issuers.signer)
        sealed, digest = lease.seal_and_digest(issuers.signer)
        try:
            reply = await self._caller.ask(messages.SUBJECT + lease.host, sealed)
            answer = self._read(reply, lease.host, digest, issuers)
        except NobodyThere:
            raise NotThisHost(f"The instance {lease.host} is not connected.") from None
        except NoAnswer as error:
            raise NotReady(f"The instance {lease.host} did not answer: {error}.") from None
        except Rejected as error:
            raise NotReady(f"The answer of {lease.host} cannot be believed: {error}.") from None
        if not isinstance(answer, Acknowledgement):
            raise refusals.reason(answer)
        if candidate.offer.mark is not None:
            self._taken[candidate.offer.mark.digest] = answer.request_id
        return Delivered(answer.request_id)

    def _read(self, reply: bytes, host: str, lease: bytes, issuers: Issuers) -> messages.Answer:
        """Verify the host's answer to the lease with this digest. Raises Rejected."""
        sealed, shown = messages.open_reply(reply)
        certificate = self._certificates.open(shown, host, issuers, self._clock.wall())
        return messages.open_answer(sealed, host, certificate.key, lease)

    def _lease(self, candidate: Candidate, signer: PrivateKey) -> LeaseMessage:
        offer, now = candidate.offer, int(self._clock.wall() * 1000)
        lifetime = min(self._keys.lifetime, offer.policy.lifetime or _LIFETIME)
        mark = offer.mark
        return LeaseMessage(
            offer.instance,
            offer.os_user,
            f"{candidate.key.type} {candidate.key.base64}",
            issued_at=now,
            ends_at=now + lifetime * 1000,
            nonce=secrets.token_bytes(NONCE_BYTES),
            issuer=signer.public,
            request_id=offer.request_id,
            principal=offer.principal,
            source=offer.source,
            conditions=replace(offer.policy, lifetime=lifetime),
            zone=offer.zone,
            mark=None if mark is None else Mark(mark.digest, int(mark.dated * 1000)),
        )


class FreeTurns(Turns):
    """No turns: each host has its own, and a slow host must not delay pushes to the others."""

    def held_for(self) -> float:
        """Always 0: no turn is held."""
        return 0.0

    async def __aenter__(self) -> None:
        """Go on at once: the HTTP server has parsed one request in this turn of the loop."""

    async def __aexit__(self, *exception: object) -> None:
        """Release nothing."""
