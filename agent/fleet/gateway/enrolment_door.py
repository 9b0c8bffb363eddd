"""Paths for hosts that join, renew and leave, and for gateways that exchange removals.

    GET  /fleet/ca       the authority's certificate, whose fingerprint a join token has; and the
                         gateway's time (ms)
    GET  /fleet/state    the account's token, which has the removed hosts and the operator signed;
                         which facts and issuer the gateway has
    POST /fleet/join     a HostRequest (messages/membership.py); the answer is a Membership
    POST /fleet/renew    the same
    POST /fleet/leave    the same, with an empty answer

A refusal is 403 with a text. A request must show a token or a certificate, and prove two keys.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Mapping
from typing import Callable

import cachetools

from agent.audit.record import Audit, Record
from agent.config.document import Problems
from agent.config.fleet_limits import FLEET
from agent.config.limits import LIMITS
from agent.fleet.home.enrolment import Enrolled, Enrolment
from agent.fleet.messages.documents import Rejected
from agent.host.bucket import Bucket
from agent.host.clock import Clock
from agent.sources.api.message import Request, Response, one_source

log = logging.getLogger("sixtykeyd")
PREFIX = b"/fleet/"
_KINDS = {b"/fleet/join": "join", b"/fleet/renew": "renew", b"/fleet/leave": "leave"}
_REJECTED, _UNKNOWN, _FAILED, _BUSY = 403, 404, 500, 503


class EnrolmentDoor:
    """Answers hosts' requests. `ca` is the authority's certificate, as PEM.

    `state` says what this gateway uses (joining.GatewayState).
    """

    def __init__(
        self,
        enrolment: Enrolment,
        ca: str,
        state: Callable[[], Mapping[str, str]],
        audit: Audit,
        clock: Clock,
    ) -> None:
        self._enrolment = enrolment
        self._ca = ca
        self._state = state
        self._audit = audit
        self._clock = clock
        # SQLite has one writer at a time anyway, and the thread pool is needed for pushes.
        self._turn = asyncio.Lock()
        now = clock.boottime()
        self._states = Bucket.full(FLEET.states_per_second, FLEET.states_total, now)
        self._each: cachetools.LRUCache[str, Bucket] = cachetools.LRUCache(LIMITS.failure_sources)

    async def answer(self, request: Request) -> Response:
        """The response to a request whose path begins with PREFIX."""
        if request.method == b"GET" and request.target == b"/fleet/ca":
            # A host compares its clock: leases are refused where they differ by seconds.
            return Response(200, {"ca": self._ca, "now": int(self._clock.wall() * 1000)})
        if request.method == b"GET" and request.target == b"/fleet/state":
            if not self._has_state_left(one_source(request.peer.source)):
                return Response(_BUSY, {"error": "the state was asked for too often"})
            try:
                return Response(200, dict(self._state()))
            except Problems as problems:
                log.error("the fleet's files: %s", "; ".join(problems.problems))
                return Response(_FAILED, {"error": "a file of the fleet's cannot be used"})
        kind = _KINDS.get(request.target) if request.method == b"POST" else None
        if kind is None:
            return Response(_UNKNOWN, {"error": "there is no such path"})
        record = Record(
            f"fleet-{kind}", "allowed", source=request.peer.source, tls=request.peer.tls
        )
        try:
            async with self._turn:
                record.instance, membership = await asyncio.get_running_loop().run_in_executor(
                    None, self._decide, kind, request.body
                )
        except Rejected as error:
            record.outcome, record.reason = "refused", str(error)
            group = ("stranger", one_source(request.peer.source))
            self._audit.sample(record, group, self._clock.boottime())
            return Response(_REJECTED, {"error": str(error)})
        except (OSError, sqlite3.Error, Problems) as error:
            log.error("a host cannot %s: %s", kind, error)
            words = "the registry, or a file of the fleet, is not usable at present"
            return Response(_FAILED, {"error": words})
        # A host may renew, or ask to join again, as often as it likes.
        self._audit.sample(record, (record.event, str(record.instance)), self._clock.boottime())
        return Response(200, {} if membership is None else {"membership": membership.decode()})

    def _has_state_left(self, source: str) -> bool:
        """Count a long answer, unless too many were given lately. Anybody may ask."""
        now = self._clock.boottime()
        own = self._each.get(source)
        if own is None:
            own = Bucket.full(FLEET.states_source_per_second, FLEET.states_source, now)
            self._each[source] = own
        if own.wait(now) > 0.0 or self._states.wait(now) > 0.0:
            return False
        own.take()
        self._states.take()
        return True

    def _decide(self, kind: str, body: bytes) -> Enrolled:
        """Whose request it is, and the membership. Raises Rejected."""
        now = self._clock.wall()
        if kind == "join":
            return self._enrolment.join(body, now)
        if kind == "renew":
            return self._enrolment.renew(body, now)
        return self._enrolment.leave(body, now)
