"""Limits what a flood of the bus's messages costs a host. No I/O; the time is an argument.

Who has the bus can send a captured message again and again, or invent messages. What changes
nothing, or is worth nothing, gets an answer a few times per second; the rest is refused before a
signature is verified or made. New leases are not limited here: each that an issuer signed is due.
"""

from __future__ import annotations

import cachetools

from agent.config.fleet_limits import FLEET
from agent.fleet.messages.description import INQUIRY
from agent.fleet.messages.explanation import QUESTION
from agent.host.bucket import Bucket

_REPEATED, _REJECTED = "repeated", "rejected"


class MessagePace:
    """A token bucket for each kind of such messages. `now`: CLOCK_BOOTTIME, s."""

    def __init__(self, now: float) -> None:
        rate, burst = FLEET.asked_per_second, FLEET.asked
        kinds = (INQUIRY, QUESTION, _REPEATED, _REJECTED)
        self._buckets = {kind: Bucket.full(rate, burst, now) for kind in kinds}
        self._answered: cachetools.LRUCache[bytes, None] = cachetools.LRUCache(FLEET.taken)

    def admits(self, kind: object, digest: bytes, now: float) -> bool:
        """Whether a message may be verified. Who signed it is not known yet."""
        if kind in (INQUIRY, QUESTION):
            return self._take(str(kind), now)
        return digest not in self._answered or self._take(_REPEATED, now)

    def admits_refusal(self, now: float) -> bool:
        """Whether to sign the refusal of a message that no issuer signed for this host and now."""
        return self._take(_REJECTED, now)

    def note_answered(self, digest: bytes) -> None:
        """Recognise a lease that was taken or refused from now on, as long as there is room."""
        self._answered[digest] = None

    def _take(self, kind: str, now: float) -> bool:
        bucket = self._buckets[kind]
        if bucket.wait(now) > 0.0:
            return False
        bucket.take()
        return True
