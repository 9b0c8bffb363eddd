"""Turns are taken one at a time, one per turn of the event loop, and never block for good."""

from __future__ import annotations

import asyncio

import pytest

from agent.leases.turns import Turns
from tests.parts.clock import ManualClock


def test_turns_are_exclusive_and_fifo() -> None:
    """Only one task is inside a turn at a time, and tasks enter in the order they came."""

    async def course() -> list[int]:
        turns, inside, order = Turns(ManualClock()), [0], []

        async def one(number: int) -> None:
            async with turns:
                inside[0] += 1
                assert inside == [1]
                await asyncio.sleep(0)
                order.append(number)
                inside[0] -= 1

        await asyncio.gather(*(one(number) for number in range(20)))
        return order

    assert asyncio.run(course()) == list(range(20))


def test_the_loop_turns_between_two_turns() -> None:
    """Between any two waiting turns, the event loop runs everything else."""

    async def course() -> None:
        turns, ticks, seen = Turns(ManualClock()), [0], []

        async def tick() -> None:
            while True:
                ticks[0] += 1
                await asyncio.sleep(0)

        async def one() -> None:
            async with turns:
                seen.append(ticks[0])

        ticking = asyncio.create_task(tick())
        await asyncio.gather(*(one() for _ in range(50)))
        ticking.cancel()
        assert len(set(seen)) == 50

    asyncio.run(course())


def test_the_time_of_the_current_turn_is_reported() -> None:
    """The time that the current turn has lasted is reported, and is zero between turns."""

    async def course() -> None:
        clock = ManualClock()
        turns = Turns(clock)
        assert turns.held_for() == 0.0
        async with turns:
            clock.advance(7.0)
            assert turns.held_for() == 7.0
        assert turns.held_for() == 0.0

    asyncio.run(course())


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_a_cancelled_task_frees_its_turn(steps: int) -> None:
    """A task cancelled while waiting or inside leaves the turn free for the next one."""

    async def course() -> None:
        turns = Turns(ManualClock())

        async def one() -> None:
            async with turns:
                await asyncio.sleep(0)

        tasks = [asyncio.create_task(one()) for _ in range(3)]
        for _ in range(steps):
            await asyncio.sleep(0)
        tasks[0].cancel()
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.wait_for(one(), 5)
        assert turns.held_for() == 0.0

    asyncio.run(course())
