"""What has come from the bus and has no answer yet: few, and not for long. No I/O and no clock."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

from agent.config.fleet_limits import FLEET


@dataclass(frozen=True)
class Held:
    """A message, where its answer goes, and when it came (s)."""

    number: int
    message: bytes
    reply_to: Any
    came: float


class Holding:
    """Messages by number, the oldest first. Whatever is given up stays without an answer.

    A gateway that gets none says so to its client, who tries again: nothing is lost by it.
    """

    def __init__(
        self, most: int = FLEET.held_messages, seconds: float = FLEET.held_seconds
    ) -> None:
        self._most = most
        self._seconds = seconds
        self._held: OrderedDict[int, Held] = OrderedDict()
        self._number = 0

    def __len__(self) -> int:
        """How many are held."""
        return len(self._held)

    def put(self, message: bytes, reply_to: Any, now: float) -> Optional[Held]:
        """Hold one more; None when there is no room for it."""
        self.forget(now)
        if len(self._held) >= self._most:
            return None
        self._number += 1
        held = self._held[self._number] = Held(self._number, message, reply_to, now)
        return held

    def take(self, number: int) -> Optional[Held]:
        """The message that is answered by this number; None: it was given up, or never was."""
        return self._held.pop(number, None)

    def waiting(self, now: float) -> Sequence[Held]:
        """All that may still be answered, for a daemon that has just come: it knows none of them.

        The one before it may have taken some, and so this one recognises them.
        """
        self.forget(now)
        return tuple(self._held.values())

    def forget(self, now: float) -> None:
        """Give up what is too old: whoever asked waits no more."""
        while self._held:
            oldest = next(iter(self._held.values()))
            if now - oldest.came < self._seconds:
                return
            del self._held[oldest.number]
