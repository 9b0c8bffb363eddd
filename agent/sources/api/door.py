"""A door answers one listener's requests: one request in, one response out.

Each listener has its own kind of door, so "local or network?" is decided once, when the listener is
made. The order of the checks is a promise: who is asking comes before what is asked, and whether it
is allowed comes before whether it exists here.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from dataclasses import replace

from agent.audit.record import Record
from agent.leases.lease import NotDurable
from agent.sources.api.actions import SendSSHPublicKey, claimed_os_user
from agent.sources.api.allow import Tags
from agent.sources.api.errors import (
    ApiError,
    InternalFailure,
    ServiceUnavailable,
    ThrottlingException,
)
from agent.sources.api.message import Request, Response, one_source, refusal, success
from agent.sources.api.principal import Principal
from agent.sources.api.translation import REFUSALS, api_error
from agent.sources.context import Context
from agent.sources.intake import Offer
from agent.sources.request_id import new_request_id
from agent.sources.steps import Steps, Taken
from agent.sources.throttle import Throttle

log = logging.getLogger("sixtykeyd")


class Door(ABC):
    """Answers one listener's requests. Doors of one host share context, steps and throttle."""

    def __init__(self, context: Context, steps: Steps[Taken], throttle: Throttle) -> None:
        self._context = context
        self._steps = steps
        self._throttle = throttle
        self._draining = False

    def drain(self) -> None:
        """Refuse every request from now on: the process is stopping."""
        self._draining = True

    async def answer(self, request: Request) -> Response:
        """The response to a request; never raises, whatever a caller sends."""
        request = replace(request, request_id=new_request_id())
        record = _record(request)
        try:
            if self._draining:
                raise ServiceUnavailable("The service is stopping. Try again.")
            return await self._serve(request, record)
        except ApiError as error:
            return self._refuse(error, request, record)
        except REFUSALS as error:
            return self._refuse(api_error(error), request, record)
        except Exception:  # a bug must refuse the request, and not end the daemon
            log.exception("request %s failed", request.request_id)
            return self._refuse(InternalFailure(), request, record)

    @abstractmethod
    async def _serve(self, request: Request, record: Record) -> Response:
        """Answer one request; `record` is filled in on the way.

        Raises:
            ApiError, or one of REFUSALS: it is refused.
        """

    async def _push(self, request: Request, principal: Principal, record: Record) -> Response:
        """SendSSHPublicKey, by a verified principal. The caller holds the turn."""
        mark = principal.mark
        before = None if mark is None else self._steps.replays.recall(mark, principal.name)
        if before is not None:
            return self._repeat(before, principal, record)
        self._throttle.take(principal.name, self._context.clock.boottime())
        offer = await self._read_offer(request, principal, record)
        try:
            taken = await self._steps.intake.take(offer)
        except NotDurable as error:
            log.error("push %s refused: %s", request.request_id, error)
            raise
        record.outcome = "allowed"
        self._context.audit.record(record)
        return push_response(taken.request_id)

    async def _read_offer(self, request: Request, principal: Principal, record: Record) -> Offer:
        """What is asked for, if the principal may. Raises ApiError, KeyRejected."""
        reference, keys = self._context.config.push.reference, self._context.config.keys
        action = SendSSHPublicKey.parse(request.body, reference)
        instance, os_user = action.instance_id, action.os_user
        record.instance, record.os_user = instance, os_user
        action.check(reference, keys.types)
        key = action.public_key(keys)
        record.note_key(key)
        tags = await self._tags(principal, request.peer.source, instance)
        principal.allow.check(request.peer.source, instance, os_user, tags)
        return Offer(
            os_user,
            instance,
            key,
            principal.name,
            request.peer.source,
            request.request_id,
            zone=action.availability_zone,
            mark=principal.mark,
            policy=principal.policy,
        )

    async def _tags(self, principal: Principal, source: str, instance: str) -> Tags:
        """The instance's tags for a principal's rules; a host does not know its own."""
        del principal, source, instance
        return {}

    def _repeat(self, request_id: str, principal: Principal, record: Record) -> Response:
        """Answer a replayed request as before; no key's life is extended."""
        record.outcome, record.request_id, record.replay = "allowed", request_id, True
        self._sample(record, ("replay", principal.name))
        return push_response(request_id)

    def _refuse(self, error: ApiError, request: Request, record: Record) -> Response:
        """Refuse a request; without a verified principal, it counts as a stranger's."""
        _note_refusal(record, error, request)
        if record.principal is None:
            self._sample(record, ("stranger", one_source(request.peer.source)))
        elif isinstance(error, ThrottlingException):
            self._sample(record, ("throttled", record.principal))
        else:
            self._sample(record, ("refused", record.principal))
        return refusal(error, request.request_id)

    def _sample(self, record: Record, group: tuple[str, str]) -> None:
        self._context.audit.sample(record, group, self._context.clock.boottime())


def push_response(request_id: str) -> Response:
    """The reference's answer to an accepted push."""
    return success(request_id, {"RequestId": request_id, "Success": True})


def _record(request: Request) -> Record:
    """The record of a request before it is parsed."""
    peer = request.peer
    return Record(
        "push",
        # Stays if nothing else is decided: a bug.
        InternalFailure.__name__,
        request_id=request.request_id,
        source=peer.source,
        user_agent=request.text(b"user-agent"),
        tls=peer.tls,
        client_certificate=peer.certificate,
    )


def _note_refusal(record: Record, error: ApiError, request: Request) -> None:
    record.outcome, record.reason = error.code, error.message
    if record.os_user is None:
        record.claimed_os_user = claimed_os_user(request.body)
