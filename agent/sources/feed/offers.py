"""Passes a source's offers to the intake; a repeated refusal is recorded once."""

from __future__ import annotations

import logging

import cachetools

from agent.audit.record import Record
from agent.config.limits import LIMITS
from agent.leases.keys import KeyRejected, PublicKey
from agent.leases.lease import Lease, NotDurable, ReplayMark, TableFull
from agent.sources.context import Context
from agent.sources.feed.messages import Offered, Refusal
from agent.sources.intake import NotThisHost, Offer, UserDenied
from agent.sources.readiness import NotReady
from agent.sources.replay import ReplayMemoryFull, TooOld
from agent.sources.request_id import new_request_id
from agent.sources.steps import Steps

log = logging.getLogger("sixtykeyd")

# Audit codes of refusals: the API's names for the same errors.
CODES: dict[type[Exception], str] = {
    KeyRejected: "InvalidArgsException",
    UserDenied: "AccessDeniedException",
    NotThisHost: "EC2InstanceNotFoundException",
    TooOld: "RequestExpired",
    ReplayMemoryFull: "ThrottlingException",
    TableFull: "ThrottlingException",
    NotDurable: "ServiceException",
    NotReady: "ServiceUnavailable",
}


class Offers:
    """Takes offers, one after the other; `source` names them in leases and in the audit."""

    def __init__(self, context: Context, steps: Steps[Lease], source: str) -> None:
        self._context = context
        self._steps = steps
        self._source = source
        self._refused: cachetools.LRUCache[tuple[str, str], bool] = cachetools.LRUCache(
            LIMITS.refused_offers
        )
        self._users: cachetools.LRUCache[str, str] = cachetools.LRUCache(LIMITS.refused_offers)

    async def take(self, offered: Offered, received: float) -> None:
        """Make it a lease, unless it is one already or was one.

        Args:
            received: when `left` was received (CLOCK_BOOTTIME, s).
        """
        request_id = new_request_id()
        record = Record(
            "push",
            "allowed",
            request_id=request_id,
            principal=offered.caller or self._source,
            source=self._source,
            upstream_id=offered.request_id,
            instance=offered.instance,
            os_user=offered.os_user,
        )
        try:
            await self._take(offered, request_id, received, record)
        except tuple(CODES) as error:
            record.outcome, record.reason = CODES[type(error)], str(error)
            self._refuse(record, offered.digest)

    def refuse(self, refusal: Refusal, os_user: str) -> None:
        """Record what the source itself has refused; it reports it once."""
        record = Record(
            "push",
            "Refused",
            request_id=new_request_id(),
            principal=refusal.caller,
            source=self._source,
            upstream_id=refusal.request_id,
            os_user=os_user,
            fingerprint=refusal.fingerprint,
            reason=refusal.reason,
        )
        self._sample(record)

    async def _take(
        self, offered: Offered, request_id: str, received: float, record: Record
    ) -> None:
        context = self._context
        # A date far ahead would be remembered for as long, and fill the memory for good.
        latest = context.clock.wall() + LIMITS.clock_skew_seconds
        mark = ReplayMark(bytes.fromhex(offered.digest), min(offered.dated, latest))
        async with context.turns:
            # The source counts as one principal: the callers that it names are only its claims.
            if self._steps.replays.recall(mark, self._source) is not None:
                self._check_user(offered)
                return
            # By its date too: the host may have been suspended while the message was on its way.
            ends = offered.dated + LIMITS.metadata_key_seconds
            waited = context.clock.boottime() - received
            left = min(offered.left - waited, ends - context.clock.wall())
            if left <= 0.0:
                return
            self._steps.readiness.check()
            key = PublicKey.parse(offered.key, context.config.keys)
            record.note_key(key)
            offer = Offer(
                offered.os_user,
                offered.instance,
                key,
                offered.caller or self._source,
                self._source,
                request_id,
                lifetime=left,
                mark=mark,
                sharer=self._source,
            )
            await self._steps.intake.take(offer)
        self._users[offered.digest] = offered.os_user
        context.audit.record(record)

    def _check_user(self, offered: Offered) -> None:
        """Accept one push for one user only, the first: the signed data does not name the user.

        A forged metadata service could show one user's push as another's. Raises UserDenied if the
        push is known to be another user's.
        """
        if self._users.get(offered.digest, offered.os_user) != offered.os_user:
            raise UserDenied("This push was taken for another OS user.")

    def _refuse(self, record: Record, digest: str) -> None:
        """Record it once while it stays the same: it is repeated with each login."""
        if (digest, record.outcome) not in self._refused:
            self._refused[digest, record.outcome] = True
            self._sample(record)

    def _sample(self, record: Record) -> None:
        now = self._context.clock.boottime()
        self._context.audit.sample(record, ("offered", str(record.os_user)), now)
