"""Turns: one push at a time, and one in each turn of the event loop.

One at a time, because what was checked must still hold when the lease is taken; one in each turn of
the loop, so that a lookup never waits for more than one of them, however many have arrived.
"""

from __future__ import annotations

import asyncio

from agent.clock import Clock


class Turns:
    """An asynchronous context manager: whoever is inside has the turn; the others wait in line."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = asyncio.Lock()
        self._began = 0.0

    def held_for(self) -> float:
        """How long the present turn has lasted (s); 0.0 when nobody has it."""
        return self._clock.boottime() - self._began if self._lock.locked() else 0.0

    async def __aenter__(self) -> None:
        await self._lock.acquire()
        self._began = self._clock.boottime()
        try:
            await asyncio.sleep(0)
        except BaseException:
            self._lock.release()
            raise

    async def __aexit__(self, *exception: object) -> None:
        self._lock.release()
