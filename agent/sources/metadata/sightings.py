"""How long the key in a block still lives, by the wall clock and by the boot clock.

EC2 gives each key an absolute end, which is compared with the wall clock each time. When a block is
first seen, its end is also fixed on the boot clock. So setting the wall clock back extends no key.
"""

from __future__ import annotations

from datetime import datetime, timezone

from agent.config.limits import LIMITS
from agent.host.clock import Clock
from agent.sources.metadata.blocks import Block
from agent.sources.metadata.refusal import Refused


class Ended(Refused):
    """The key has expired. `served`: it was offered before, so its expiry need not be reported."""

    def __init__(self, words: str, served: bool) -> None:
        super().__init__(words)
        self.served = served


class Sightings:
    """Blocks by their digest, each with its end on the boot clock (s)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends: dict[str, float] = {}
        self._served: set[str] = set()

    def left(self, block: Block) -> float:
        """How long a verified block's key still lives, in seconds: above 0, at most 60.

        Raises:
            Ended: the key has expired.
            Refused: its end is too far in the future, or too many blocks are remembered.
        """
        now = self._clock.boottime()
        given = block.expires - self._clock.wall()
        if block.digest not in self._ends:
            self._see(block, given, now)
        left = min(self._ends[block.digest] - now, given)
        if left <= 0.0:
            when = datetime.fromtimestamp(block.expires, timezone.utc).isoformat()
            raise Ended(
                f"it expired at {when}, by EC2's clock", served=block.digest in self._served
            )
        self._served.add(block.digest)
        return left

    def _see(self, block: Block, given: float, now: float) -> None:
        most = LIMITS.metadata_key_seconds
        if given > most + LIMITS.metadata_ahead_seconds:
            raise Refused("its expiry is too far ahead: this host's clock, or EC2's, is wrong")
        if len(self._ends) >= LIMITS.metadata_seen:
            self._forget(now)
        self._ends[block.digest] = now + max(0.0, min(given, most))

    def _forget(self, now: float) -> None:
        """Make room, but keep every block that may still be valid. Raises Refused: still full."""
        for digest, end in list(self._ends.items()):
            if end + LIMITS.metadata_ahead_seconds < now:
                del self._ends[digest]
                self._served.discard(digest)
        if len(self._ends) >= LIMITS.metadata_seen:
            raise Refused("too many keys were pushed within 15 minutes to remember them all")
