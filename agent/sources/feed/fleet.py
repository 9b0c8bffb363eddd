"""The daemon's role towards sixtykeyd-fleet: the connector carries, the daemon decides and signs.

A message may come from an attacker who controls the bus or the connector. So the daemon verifies
who signed a message, for which host and when, and signs the answer with a key that the connector
cannot read. It recognises a repeated lease, from whichever gateway it comes. What a flood of
messages costs is limited (pace.py).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import dataclass
from typing import Any, Optional

from agent.audit import visible
from agent.audit.record import Record
from agent.config.document import Problems
from agent.fleet.host.signer import HostSigner
from agent.fleet.messages import documents, lease_exchange
from agent.fleet.messages.clocks import NotNow
from agent.fleet.messages.description import INQUIRY, Description, Inquiry, plain_address
from agent.fleet.messages.documents import Rejected
from agent.fleet.messages.explanation import QUESTION, Explanation, Question
from agent.fleet.messages.lease_exchange import Acknowledgement, LeaseMessage
from agent.fleet.messages.refusals import REFUSALS, refuse
from agent.host.pam import check_one_time
from agent.leases.keys import PublicKey
from agent.leases.lease import Lease, NotDurable, ReplayMark
from agent.sources.context import Context
from agent.sources.feed.members import Violation
from agent.sources.feed.messages import (
    NO_ANSWER,
    Addresses,
    Deliver,
    FromSource,
    Health,
    Reply,
)
from agent.sources.feed.offers import CODES
from agent.sources.feed.pace import MessagePace
from agent.sources.feed.server import Link
from agent.sources.intake import Offer
from agent.sources.readiness import NotReady
from agent.sources.steps import Steps

log = logging.getLogger("sixtykeyd")

NAME = "fleet"


@dataclass(frozen=True)
class _Verified:
    """A lease that an issuer signed recently for this host; `received` is on the boot clock (s)."""

    lease: LeaseMessage
    digest: bytes
    received: float


class FleetRole:
    """Answers messages of a fleet's bus.

    `version` is the daemon's, for descriptions. `root` is the folder of the host's files.
    """

    def __init__(
        self,
        context: Context,
        steps: Steps[Lease],
        signer: HostSigner,
        version: str,
        root: str = "/",
    ) -> None:
        self._context = context
        self._steps = steps
        self._signer = signer
        self._version = version
        self._root = root
        self._host = context.identity.instance_id
        self._link: Optional[Link] = None
        self._health = Health(False, "it has not reported its state")
        self._addresses: tuple[str, ...] = ()
        self._pace = MessagePace(context.clock.boottime())

    def attach(self, link: Link) -> None:
        """The connector has said hello."""
        self._link = link
        self._health = Health(False, "it has not reported its state")
        self._addresses = ()

    def detach(self) -> None:
        """The connector has disconnected; logins and local pushes continue."""
        self._link = None
        log.warning("source %s: gone; pushes through the fleet do not reach this host", NAME)

    async def take(self, message: FromSource) -> None:
        """Take the connector's health, its addresses, or a message of the bus. Raises Violation."""
        if isinstance(message, Health):
            if message.well != self._health.well:
                log.warning("source %s: %s", NAME, message.reason or "connected to the bus")
            self._health = message
        elif isinstance(message, Addresses):
            self._addresses = _check_addresses(message)
        elif isinstance(message, Deliver):
            answer = await self._answer(message.message)
            reply = NO_ANSWER if answer is None else self._signer.reply(answer)
            if self._link is not None:
                self._link.send(Reply(message.number, reply))
        else:
            raise Violation(f"{NAME} may not send this")

    def describe(self) -> dict[str, Any]:
        """The role's state, for an operator."""
        problem = None if self._health.well else self._health.reason
        if self._link is None:
            problem = "sixtykeyd-fleet is not connected"
        return {"Attached": self._link is not None, "Problem": problem, "Waiting": 0}

    async def _answer(self, envelope: bytes) -> Optional[bytes]:
        """The signed answer; None: it is not a document, or one of a flood."""
        received = self._context.clock.boottime()
        try:
            members = documents.read(envelope)
            kind, digest = members.get("kind"), lease_exchange.digest_of(members)
        except Rejected:
            self._count("unreadable")
            return None
        if not self._pace.admits(digest, received):
            self._count("throttled")
            return None
        try:
            if kind == INQUIRY:
                return self._describe(envelope, digest, received)
            if kind == QUESTION:
                return self._explain(envelope, digest, received)
            taken = await self._take(envelope, digest, received)
            self._pace.note_genuine(digest)
            return taken.seal(self._signer.key)
        except REFUSALS as error:
            if not self._pace.admits_refusal(error, digest, received):
                self._count("throttled")
                return None
            return refuse(error, digest, self._host).seal(self._signer.key)

    def _describe(self, envelope: bytes, digest: bytes, received: float) -> Optional[bytes]:
        """Answer an inquiry: who this host is. Raises Rejected: no trusted gateway signed it."""
        Inquiry.open(envelope, self._signer.issuers).check(self._host, self._context.clock.wall())
        if not self._pace.admits_answer(INQUIRY, digest, received):
            self._count("throttled")
            return None
        self._count("described")
        return Description(
            digest,
            self._host,
            self._version,
            self._context.identity.availability_zone,
            self._addresses,
            tuple(self._signer.host_keys()),
            self._context.config.keys.lifetime,
            self._context.config.keys.uses,
        ).seal(self._signer.key)

    def _explain(self, envelope: bytes, digest: bytes, received: float) -> Optional[bytes]:
        """Explain a principal's pushes. Raises Rejected: no trusted gateway signed the question."""
        asked = Question.open(envelope, self._signer.issuers)
        asked.check(self._host, self._context.clock.wall())
        if not self._pace.admits_answer(QUESTION, digest, received):
            self._count("throttled")
            return None
        self._count("explained")
        history = self._context.audit.history
        decisions = history.of(asked.os_user, self._context.clock.boottime())
        own = visible.own_decisions(decisions, asked.principal, by_fleet=True)
        zone = self._context.identity.availability_zone
        return Explanation.of_newest(digest, self._host, zone, own).seal(self._signer.key)

    async def _take(self, envelope: bytes, digest: bytes, received: float) -> Acknowledgement:
        """Make a lease of the message, unless it was taken before. Raises one of REFUSALS."""
        record = Record("push", "InternalFailure", source=NAME, instance=self._host)
        try:
            lease = LeaseMessage.open(envelope, self._signer.issuers)
            _note(record, lease)
            lease.check(self._host, self._context.clock.wall())
            await self._check_enforceable(lease)
            return await self._keep(_Verified(lease, digest, received), record)
        except REFUSALS as error:
            if isinstance(error, NotDurable):
                log.error("push %s refused: %s", record.request_id, error)
            record.outcome, record.reason = CODES.get(type(error), "AuthException"), str(error)
            who = ("stranger", NAME) if record.issuer is None else ("refused", record.principal)
            self._sample(record, (who[0], str(who[1])))
            raise

    async def _check_enforceable(self, lease: LeaseMessage) -> None:
        """Raise NotReady for a key for one login that this host cannot limit to one login.

        A gateway's credential may ask for that where this host's configuration does not. If the
        configuration does, the start has checked it. Reading PAM's files may take a while.
        """
        keys, socket = self._context.config.keys, self._context.config.lookup.socket
        if lease.conditions.uses != "once" or keys.uses == "once":
            return
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, check_one_time, self._root, socket)
        except Problems as problems:
            log.warning("source %s: a push is refused: %s", NAME, "; ".join(problems.problems))
            raise NotReady(
                "This host cannot limit a key to one login (its log says why)."
            ) from None

    async def _keep(self, verified: _Verified, record: Record) -> Acknowledgement:
        """Pass the lease through the intake, in turn: it is recognised, or made durable."""
        lease, context = verified.lease, self._context
        self._steps.readiness.check()
        mark = _mark(lease)
        async with context.turns:
            before = self._steps.replays.recall(mark, lease.principal)
            if before is not None:
                record.outcome, record.request_id, record.replay = "allowed", before, True
                self._sample(record, ("replay", lease.principal))
                return Acknowledgement(verified.digest, self._host, before, None)
            offer = self._offer(verified, mark)
            record.note_key(offer.key)
            taken = await self._steps.intake.take(offer)
            ends = context.clock.wall() + taken.expires_at - context.clock.boottime()
        record.outcome = "allowed"
        context.audit.record(record)
        return Acknowledgement(verified.digest, self._host, taken.request_id, int(ends * 1000))

    def _offer(self, verified: _Verified, mark: ReplayMark) -> Offer:
        """The offer, with the rest of its lifetime: counted from receipt, up to `ends_at`."""
        lease, clock = verified.lease, self._context.clock
        since = clock.boottime() - verified.received
        left = min(lease.lifetime - since, lease.ends_at / 1000 - clock.wall())
        if left <= 0.0:
            raise NotNow("the lease ended while it waited for its turn")
        return Offer(
            lease.os_user,
            lease.host,
            PublicKey.parse(lease.key, self._context.config.keys),
            lease.principal,
            lease.source,
            lease.request_id,
            zone=lease.zone,
            lifetime=left,
            mark=mark,
            policy=lease.conditions,
        )

    def _sample(self, record: Record, group: tuple[str, str]) -> None:
        self._context.audit.sample(record, group, self._context.clock.boottime())

    def _count(self, outcome: str) -> None:
        self._context.audit.count(NAME, outcome)


def _mark(lease: LeaseMessage) -> ReplayMark:
    """Identifies a repetition: by the pusher's signed request, or else by this lease's nonce."""
    if lease.mark is not None:
        return ReplayMark(lease.mark.digest, lease.mark.dated / 1000)
    digest = hashlib.sha256(b"sixtykey fleet nonce" + lease.issuer.raw + lease.nonce).digest()
    return ReplayMark(digest, lease.issued_at / 1000)


def _note(record: Record, lease: LeaseMessage) -> None:
    """Put the facts that the issuer signed into the record."""
    record.issuer, record.request_id = str(lease.issuer), lease.request_id
    record.principal, record.source = lease.principal, lease.source
    record.instance, record.os_user = lease.host, lease.os_user


def _check_addresses(message: Addresses) -> tuple[str, ...]:
    try:
        for each in message.found:
            plain_address(each)
    except ValueError:
        raise Violation("an invalid address") from None
    return tuple(message.found)
