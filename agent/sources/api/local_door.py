"""The local push socket's door: pushes without a signature, and the operator's actions.

The kernel says who the peer is (SO_PEERCRED, unix(7)); the socket's mode says who may connect.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Callable

from agent.audit.record import Record
from agent.config.key_policy import KeyPolicy
from agent.sources.api.door import Door
from agent.sources.api.errors import InvalidAction, ServiceException
from agent.sources.api.message import Peer, Request, Response, refusal, success
from agent.sources.api.operators import is_scrape, operators_action
from agent.sources.api.principal import EVERYTHING, Principal
from agent.sources.api.routing import route_local
from agent.sources.context import Context
from agent.sources.steps import Steps, Taken
from agent.sources.throttle import Throttle

# Operator's actions that change something, by their audit names.
_CHANGES = frozenset({"revoke", "reload"})


@dataclass(frozen=True)
class Answer:
    """An operator's action's answer. `quiet`: it is counted, and not recorded."""

    body: dict[str, Any]
    quiet: bool = False


# An operator's action takes the peer, the request's body, and the audit record, in which it sets
# the OS user. It raises ApiError.
OperatorAction = Callable[[Peer, bytes, Record], Awaitable[Answer]]


class LocalDoor(Door):
    """Answers the members of the push socket's group."""

    def __init__(
        self,
        context: Context,
        steps: Steps[Taken],
        throttle: Throttle,
        actions: Mapping[str, OperatorAction],
    ) -> None:
        super().__init__(context, steps, throttle)
        self._actions = actions

    async def _serve(self, request: Request, record: Record) -> Response:
        user = Principal(f"uid:{request.peer.uid}", EVERYTHING, KeyPolicy(), None)
        action = operators_action(request)
        if action is not None:
            record.event = "operator"
            record.principal = user.name
            return await self._operate(action, request, record)
        self._steps.readiness.check()
        async with self._context.turns:
            record.principal = user.name
            route_local(request)
            return await self._push(request, user, record)

    async def _operate(self, action: str, request: Request, record: Record) -> Response:
        """Run an operator's action, also while no push can be taken."""
        scrape = is_scrape(request)
        if not scrape:
            action = route_local(request, None)
        if action not in self._actions:
            raise InvalidAction(f"The action {action[:64]!r} is not known here.")
        record.event = action.partition(".")[2].lower()
        try:
            answer = await self._actions[action](request.peer, request.body, record)
        except ServiceException as error:
            # The change was made, but is not durable. A flood must not displace its record.
            record.outcome, record.reason = error.code, error.message
            self._context.audit.record(record)
            return refusal(error, request.request_id)
        record.outcome = "allowed"
        if answer.quiet:
            self._context.audit.count(record.event, record.outcome)
        elif record.event in _CHANGES:
            self._context.audit.record(record)
        else:
            self._sample(record, ("operator", f"uid:{request.peer.uid}"))
        response = success(request.request_id, answer.body)
        return replace(response, text=answer.body["Metrics"]) if scrape else response
