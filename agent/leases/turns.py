"""Turns: one push at a time, and one in each turn of the event loop.

One at a time, because a check must still hold when the lease is taken; one in each turn of the
loop, so that a lookup never waits for more than one push, however many have arrived.
"""

from __future__ import annotations

import asyncio
from typing import Optional

from agent.host.clock import Clock


class Turns:
    """An asynchronous context manager: one task is inside; the others wait in line."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Made at the first turn: before Python 3.10 a lock belongs to the loop that is current when
        # it is made.
        self._lock: Optional[asyncio.Lock] = None
        self._began = 0.0

    def held_for(self) -> float:
        """How long the current turn has lasted (s); 0.0 if there is none."""
        taken = self._lock is not None and self._lock.locked()
        return self._clock.boottime() - self._began if taken else 0.0

    async def __aenter__(self) -> None:
        if self._lock is None:
            self._lock = asyncio.Lock()
        await self._lock.acquire()
        self._began = self._clock.boottime()
        try:
            await asyncio.sleep(0)
        except BaseException:
            self._lock.release()
            raise

    async def __aexit__(self, *exception: object) -> None:
        if self._lock is not None:
            self._lock.release()
