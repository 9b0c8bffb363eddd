"""The network's door: signed pushes only."""

from __future__ import annotations

from agent.audit.record import Record
from agent.sources.api.actions import ACTION
from agent.sources.api.door import Door
from agent.sources.api.errors import ApiError
from agent.sources.api.message import Request, Response, one_source
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
        self._steps.readiness.check()
        async with self._context.turns:
            try:
                principal = self._identify(request, record)
            except ApiError as error:
                source = one_source(request.peer.source)
                return self._refuse_stranger(error, request, record, source)
            return await self._push(request, principal, record)

    def _identify(self, request: Request, record: Record, action: str = ACTION) -> Principal:
        """Verify who asks for a push. Raises ApiError for anything that a stranger can send."""
        parameters = route(request, action)
        try:
            return self._authenticator.authenticate(request, parameters, record)
        except TooMany as error:
            raise api_error(error) from None
