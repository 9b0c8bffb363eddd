"""agent/host/turnstile.py: one task in each turn of the event loop."""

from __future__ import annotations

import asyncio

from agent.host.turnstile import Turnstile


class Turns:
    """Counts the event loop's turns, and notes which task was let on in which turn."""

    def __init__(self) -> None:
        self.turnstile = Turnstile()
        self.seen: list[tuple[int, str]] = []
        self._turn = 0

    async def count(self) -> None:
        """Count until cancelled."""
        while True:
            await asyncio.sleep(0)
            self._turn += 1

    async def go(self, name: str, times: int = 1) -> None:
        """Go through this many times."""
        for _ in range(times):
            await self.turnstile.enter()
            self.seen.append((self._turn, name))


def test_one_task_is_let_on_in_each_turn_in_order() -> None:
    """Of many tasks at once, each has a turn of its own, in the order in which they came."""

    async def many() -> None:
        turns = Turns()
        counting = asyncio.create_task(turns.count())
        names = [f"task-{number}" for number in range(50)]
        await asyncio.gather(*map(turns.go, names))
        counting.cancel()
        assert [name for _, name in turns.seen] == names
        when = [turn for turn, _ in turns.seen]
        assert when == list(range(when[0], when[0] + 50))

    asyncio.run(many())


def test_tasks_that_come_again_take_turns() -> None:
    """A task that comes again waits behind those that are there; all turns are different."""

    async def again() -> None:
        turns = Turns()
        counting = asyncio.create_task(turns.count())
        await asyncio.gather(*(turns.go(name, 20) for name in "abc"))
        counting.cancel()
        assert "".join(name for _, name in turns.seen) == "abc" * 20
        assert len({turn for turn, _ in turns.seen}) == 60

    asyncio.run(again())


def test_a_task_that_is_cancelled_stops_nobody() -> None:
    """A waiting task that is cancelled is passed over; those behind it go on."""

    async def cancelled() -> None:
        turns = Turns()
        tasks = [asyncio.create_task(turns.go(name)) for name in "abcd"]
        await asyncio.sleep(0)
        for number in (0, 2):
            tasks[number].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert [name for _, name in turns.seen] == ["b", "d"]
        await asyncio.wait_for(turns.go("later"), 5)

    asyncio.run(cancelled())
