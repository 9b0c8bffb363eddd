"""One task in each turn of the event loop."""

from __future__ import annotations

import asyncio
from collections import deque


class Turnstile:
    """Lets one task on in each turn of the event loop, in the order in which they came.

    An asyncio.Lock with a `sleep(0)` inside does the same, but wakes every waiting task twice.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._taken = False

    async def enter(self) -> None:
        """Wait for a turn of the loop that no other task has: the next one at the earliest."""
        loop = asyncio.get_running_loop()
        if self._taken:
            place: asyncio.Future[None] = loop.create_future()
            self._waiting.append(place)
            await place
        else:
            self._taken = True
            loop.call_soon(self._let_on)
            await asyncio.sleep(0)

    def _let_on(self) -> None:
        """Give the next turn to the first task that still waits."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                asyncio.get_running_loop().call_soon(self._let_on)
                return
        self._taken = False
