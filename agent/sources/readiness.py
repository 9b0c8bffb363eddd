"""Whether this host can take a lease at all: asked before anything of an offer is looked at."""

from __future__ import annotations

from agent.config.limits import LIMITS
from agent.leases.lease import NotDurable
from agent.leases.store import LeaseStore
from agent.leases.turns import Turns


class NotReady(Exception):
    """No lease can be taken now, whatever the offer."""


class Readiness:
    """Whether turns go on, and the store is durable."""

    def __init__(self, turns: Turns, store: LeaseStore) -> None:
        self._turns = turns
        self._store = store

    def check(self) -> None:
        """Raise NotReady if no lease can be taken now, or the present turn lasts too long."""
        if self._turns.held_for() > LIMITS.queue_seconds:
            raise NotReady("The store of leases does not answer. Try again.")
        try:
            self._store.check()
        except NotDurable as error:
            raise NotReady("The service is not available for the moment. Try again.") from error
