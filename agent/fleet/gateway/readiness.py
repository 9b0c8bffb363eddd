"""Whether a gateway can pass pushes on; and its turns, of which it needs none."""

from __future__ import annotations

from agent.fleet.bus.caller import Caller
from agent.leases.turns import Turns
from agent.sources.readiness import NotReady


class BusReadiness:
    """Whether there is a connection to the bus."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def check(self) -> None:
        """Raise NotReady while there is no connection to the bus."""
        if not self._caller.ready:
            raise NotReady("The fleet's bus is not reachable from this gateway. Try again.")


class FreeTurns(Turns):
    """No turns: each host has its own, and a slow host must not delay pushes to the others."""

    def held_for(self) -> float:
        """Always 0: no turn is held."""
        return 0.0

    async def __aenter__(self) -> None:
        """Go on at once: the HTTP server has parsed one request in this turn of the loop."""

    async def __aexit__(self, *exception: object) -> None:
        """Release nothing."""
