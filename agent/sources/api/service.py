"""One request in, one response out: the order of every check.

The order is a promise of its own: what answers first decides what a caller can learn. Who is asking
comes before what is asked, and whether it is allowed comes before whether it exists here.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from typing import Any, Callable, Optional

from agent.audit.record import Audit, Record
from agent.config.identity import Identity
from agent.config.settings import LIMITS, Config
from agent.host.clock import Clock
from agent.leases.lease import Lease, LeaseSink, NotDurable, TableFull
from agent.leases.turns import Turns
from agent.sources.api.actions import ACTION, SendSSHPublicKey, claimed_os_user
from agent.sources.api.errors import (
    AccessDeniedException,
    ApiError,
    EC2InstanceNotFoundException,
    InternalFailure,
    InvalidAction,
    RequestExpired,
    ServiceException,
    ServiceUnavailable,
    ThrottlingException,
)
from agent.sources.api.message import Peer, Request, Response, one_source, refusal, success
from agent.sources.api.principal import AuthenticationFailed, Authenticator, Principal
from agent.sources.api.routing import METRICS, is_operators, is_scrape, route
from agent.sources.api.throttle import FailurePace, Throttle
from agent.sources.replay import ReplayMemory, ReplayMemoryFull, TooOld

log = logging.getLogger("sixtykeyd")

Facts = dict[str, Any]
# An operator's action takes the peer, the body and the facts of the audit record, to which it adds;
# it returns the answer's body. With the fact `quiet` it is counted and not recorded.
OperatorAction = Callable[[Peer, bytes, Facts], Awaitable[dict[str, Any]]]


class Service:
    """Answers requests, in turns: no two pushes are ever between check and lease."""

    def __init__(  # noqa: PLR0913, PLR0917 - one context, with the intake
        self,
        config: Config,
        identity: Identity,
        authenticator: Authenticator,
        sink: LeaseSink,
        memory: ReplayMemory,
        clock: Clock,
        audit: Audit,
        turns: Turns,
        operator: Mapping[str, OperatorAction],
    ) -> None:
        self._config = config
        self._identity = identity
        self._authenticator = authenticator
        self._sink = sink
        self._clock = clock
        self._audit = audit
        self._operator = operator
        self._throttle = Throttle(config.push.rate, clock.boottime())
        self._strangers = FailurePace(LIMITS.strangers_per_second, LIMITS.strangers_burst)
        self._memory = memory
        self._turns = turns
        self.draining = False

    async def answer(self, request: Request) -> Response:
        """The response to a request; nothing a caller sends makes this raise."""
        request_id = str(uuid.uuid4())
        facts: Facts = {
            "request_id": request_id,
            "source": request.peer.source,
            "user_agent": request.text(b"user-agent"),
            "tls": request.peer.tls,
            "client_certificate": request.peer.certificate,
        }
        try:
            self._check_running()
            if is_operators(request):
                return await self._operate(request, facts)
            self._check_serving()
            async with self._turns:
                response = await self._decide(request, facts)
        except AuthenticationFailed as failed:
            return replace(self._refuse(failed.error, request, facts, True), delay=failed.delay)
        except ApiError as error:
            return self._refuse(error, request, facts)
        except Exception:  # a defect of ours must refuse, and must not end the daemon
            log.exception("request %s failed", request_id)
            return self._refuse(InternalFailure(), request, facts)
        return response

    def _check_running(self) -> None:
        if self.draining:
            raise ServiceUnavailable("The service is stopping. Try again.")

    def _check_serving(self) -> None:
        if self._turns.held_for() > LIMITS.queue_seconds:
            raise ServiceUnavailable("The store of leases does not answer. Try again.")
        try:
            self._sink.check()
        except NotDurable:
            raise ServiceUnavailable from None

    async def _decide(self, request: Request, facts: Facts) -> Response:
        principal = self._identify(request, facts)
        accepted = self._recall(principal)
        if accepted is None:
            return await self._push(request, principal, facts)
        facts.update(replay=True, request_id=accepted)
        self._record("allowed", facts)
        return _accepted(accepted)

    def _recall(self, principal: Principal) -> Optional[str]:
        """The request id of the push that was accepted with this mark before."""
        try:
            return None if principal.mark is None else self._memory.recall(principal.mark)
        except TooOld:
            raise RequestExpired(
                "The request is as old as others that have expired. Sign it anew."
            ) from None

    def _check_room(self, principal: Principal) -> None:
        try:
            self._memory.check_room(principal.name)
        except ReplayMemoryFull as full:
            raise ThrottlingException(
                "This host has accepted as many requests as it can remember against replay. "
                "Wait a while and try again.",
                retry_after=full.wait,
            ) from None

    def _identify(self, request: Request, facts: Facts) -> Principal:
        """Who asks for a push. Raises AuthenticationFailed for whatever a stranger can send."""
        try:
            action, parameters = route(request)
            if action != ACTION:
                raise InvalidAction("An operator's action is named by X-Amz-Target alone.")
            return self._authenticator.authenticate(request, parameters, facts)
        except ApiError as error:
            raise AuthenticationFailed(error, 0.0) from None

    async def _push(self, request: Request, principal: Principal, facts: Facts) -> Response:
        reference, settings = self._config.push.reference, self._config.keys
        self._throttle.take(principal.name, self._clock.boottime())
        if principal.mark is not None:
            self._check_room(principal)
        action = SendSSHPublicKey.parse(request.body, reference)
        facts.update(instance=action.instance_id, os_user=action.os_user)
        key = action.check(reference, settings)
        facts.update(key_type=key.type, fingerprint=key.fingerprint, public_key=key.base64)
        self._check_allowed(principal, request.peer, action)
        now = self._clock.boottime()
        lease = Lease(
            action.os_user,
            key,
            facts["request_id"],
            principal.name,
            request.peer.source,
            pushed_at=now,
            expires_at=now + settings.lifetime,
            mark=principal.mark,
        )
        await self._add(lease)
        self._audit.history.pushed(lease)
        self._record("allowed", facts)
        return _accepted(lease.request_id)

    def _check_allowed(self, principal: Principal, peer: Peer, action: SendSSHPublicKey) -> None:
        """Authorization first: who may not push here learns nothing of this host."""
        if principal.credential is not None:
            principal.credential.check_allowed(peer.source, action.instance_id, action.os_user)
        if action.os_user in self._config.keys.deny_users:
            raise AccessDeniedException("Nobody may push a key for this OS user.")
        zone = action.availability_zone
        if action.instance_id != self._identity.instance_id:
            raise EC2InstanceNotFoundException("This host is not that instance.")
        if zone is not None and zone != self._identity.availability_zone:
            raise EC2InstanceNotFoundException("This instance is not in that Availability Zone.")

    async def _add(self, lease: Lease) -> None:
        try:
            await self._sink.add(lease)
        except TableFull as error:
            raise ThrottlingException(
                f"No room for one more key: {error}. Wait until one has expired.",
                retry_after=error.wait,
            ) from None
        except NotDurable as error:
            log.error("push %s refused: %s", lease.request_id, error)
            raise ServiceException from None

    async def _operate(self, request: Request, facts: Facts) -> Response:
        """An operator's action: also while no push can be taken, since then they are asked."""
        facts["event"] = "operator"
        scrape = is_scrape(request)
        action, parameters = (METRICS, {}) if scrape else route(request)
        self._authenticator.authenticate(request, parameters, facts)
        if action not in self._operator:
            raise InvalidAction(f"The action {action[:64]!r} is not known here.")
        facts["event"] = action.partition(".")[2].lower()
        body = await self._operator[action](request.peer, request.body, facts)
        if facts.pop("quiet", False):
            self._audit.count(facts["event"], "allowed")
        else:
            self._record("allowed", facts)
        answer = success(facts["request_id"], body)
        return replace(answer, text=body["Metrics"]) if scrape else answer

    def _refuse(
        self, error: ApiError, request: Request, facts: Facts, stranger: bool = False
    ) -> Response:
        facts.pop("quiet", None)
        source, now = request.peer.source, self._clock.boottime()
        if stranger and request.peer.uid is None and self._strangers.delay(one_source(source), now):
            self._audit.skip("push", error.code)
            return refusal(error, facts["request_id"])
        if "os_user" not in facts:
            facts["claimed_os_user"] = claimed_os_user(request.body)
        self._record(error.code, {**facts, "reason": error.message})
        return refusal(error, facts["request_id"])

    def _record(self, outcome: str, facts: Facts) -> None:
        self._audit.record(Record(outcome=outcome, **{"event": "push", **facts}))


def _accepted(request_id: str) -> Response:
    return success(request_id, {"RequestId": request_id, "Success": True})
