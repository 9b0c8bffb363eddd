"""The steps that every offer takes, whatever its source: ready, recall, take.

A host has its own (readiness.py, replay.py, intake.py), and a fleet's gateway has others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Optional, Protocol, TypeVar

from agent.leases.lease import ReplayMark
from agent.sources.intake import Offer


class Taken(Protocol):
    """What became of an accepted offer."""

    @property
    def request_id(self) -> str:
        """The id of the push that it came from."""


Taken_co = TypeVar("Taken_co", bound=Taken, covariant=True)


class Ready(Protocol):
    """Says whether anything can be taken now."""

    def check(self) -> None:
        """Raise NotReady if nothing can be taken now."""


class Recall(Protocol):
    """Recognises repeated offers. The caller holds the turn from here to the end."""

    def recall(self, mark: ReplayMark, principal: str) -> Optional[str]:
        """The request id of the lease that this offer became before; None for a new offer.

        Raises TooOld, or ReplayMemoryFull: `principal` has no room for a new one.
        """


class Taker(Protocol[Taken_co]):
    """Takes offers: this host's intake, or a fleet's bus."""

    async def take(self, offer: Offer) -> Taken_co:
        """Take the offer. Raises the errors of an intake: this host's, or another's by the bus."""


@dataclass(frozen=True)
class Steps(Generic[Taken_co]):
    """The three steps, in their order."""

    readiness: Ready
    replays: Recall
    intake: Taker[Taken_co]
