"""The network's door: signed pushes, and two actions for principals that may push.

What Sixtykey.Hosts and Sixtykey.Explain answer differs: see host_door.py for a single host, and
agent/fleet/gateway/door.py for a fleet's gateway.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from agent.audit.record import Record
from agent.sources.api.actions import ACTION
from agent.sources.api.door import Door
from agent.sources.api.message import Request, Response, success
from agent.sources.api.operators import EXPLAIN, HOSTS, operators_action
from agent.sources.api.principal import Authenticator, Principal
from agent.sources.api.routing import route
from agent.sources.api.translation import api_error
from agent.sources.context import Context
from agent.sources.steps import Steps, Taken
from agent.sources.throttle import Throttle, TooMany


class NetworkDoor(Door):
    """Answers any client of the port; each is a stranger until its signature is verified."""

    def __init__(
        self,
        context: Context,
        steps: Steps[Taken],
        throttle: Throttle,
        authenticator: Authenticator,
    ) -> None:
        super().__init__(context, steps, throttle)
        self._authenticator = authenticator

    async def _serve(self, request: Request, record: Record) -> Response:
        action = operators_action(request)
        if action in (HOSTS, EXPLAIN):
            return await self._answer_action(action, request, record)
        self._steps.readiness.check()
        async with self._context.turns:
            principal = self._identify(request, record, ACTION)
            return await self._push(request, principal, record)

    async def _answer_action(self, action: str, request: Request, record: Record) -> Response:
        """Answer one of the two actions that push nothing."""
        record.event = action.partition(".")[2].lower()
        async with self._context.turns:
            principal = self._identify(request, record, action)
            self._throttle.take(principal.name, self._context.clock.boottime())
        answer = self._list if action == HOSTS else self._explain
        body = await answer(request, principal, record)
        record.outcome = "allowed"
        self._sample(record, ("operator", principal.name))
        return success(request.request_id, body)

    def _identify(self, request: Request, record: Record, action: str) -> Principal:
        """Verify who requests the action. Raises ApiError for anything that a stranger can send."""
        parameters = route(request, action)
        try:
            return self._authenticator.authenticate(request, parameters, record)
        except TooMany as error:
            raise api_error(error) from None

    @abstractmethod
    async def _list(self, request: Request, principal: Principal, record: Record) -> dict[str, Any]:
        """Answer Sixtykey.Hosts: the hosts that the principal may push to.

        Raises ApiError, or one of REFUSALS.
        """

    @abstractmethod
    async def _explain(
        self, request: Request, principal: Principal, record: Record
    ) -> dict[str, Any]:
        """Answer Sixtykey.Explain: what became of the principal's own pushes.

        Raises ApiError, or one of REFUSALS.
        """
