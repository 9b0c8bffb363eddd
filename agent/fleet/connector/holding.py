"""Messages from the bus that wait for an answer: bounded in number and time. No I/O, no clock."""

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
    received_at: float


class Holding:
    """Messages by number, the oldest first. A message that is dropped gets no answer.

    The gateway then reports a time-out to its client, which tries again. So no push is lost.
    """

    def __init__(
        self, most: int = FLEET.held_messages, seconds: float = FLEET.held_seconds
    ) -> None:
        self._most = most
        self._seconds = seconds
        self._held: OrderedDict[int, Held] = OrderedDict()
        self._number = 0

    def __len__(self) -> int:
        """How many messages are held."""
        return len(self._held)

    def put(self, message: bytes, reply_to: Any, now: float) -> Optional[Held]:
        """Hold a message; None when there is no room for it."""
        self.forget(now)
        if len(self._held) >= self._most:
            return None
        self._number += 1
        held = self._held[self._number] = Held(self._number, message, reply_to, now)
        return held

    def take(self, number: int) -> Optional[Held]:
        """Remove and return the message with this number; None when it is not held any more."""
        return self._held.pop(number, None)

    def waiting(self, now: float) -> Sequence[Held]:
        """All messages that can still be answered, to send to a daemon that just connected.

        Its predecessor may have taken some of them; the daemon recognises the repetitions.
        """
        self.forget(now)
        return tuple(self._held.values())

    def forget(self, now: float) -> None:
        """Drop messages that are too old: their senders have stopped waiting."""
        while self._held:
            oldest = next(iter(self._held.values()))
            if now - oldest.received_at < self._seconds:
                return
            del self._held[oldest.number]
