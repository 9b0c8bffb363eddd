"""Ending tasks: cancelled until they end, and their errors are returned."""

from __future__ import annotations

import asyncio

from agent.host.serving import end


def test_a_task_that_drops_a_cancellation_is_cancelled_again() -> None:
    """asyncio.wait_for did that until Python 3.12; the task ends all the same."""

    async def run() -> int:
        dropped = 0

        async def stubborn() -> None:
            nonlocal dropped
            while True:
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    dropped += 1
                    if dropped > 1:
                        raise

        task = asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        assert await end(task) == []
        assert task.cancelled()
        return dropped

    assert asyncio.run(run()) == 2


def test_the_errors_of_ended_tasks_are_returned() -> None:
    """A task that had already failed, and one that fails when it is cancelled."""

    async def fail() -> None:
        raise ValueError("at once")

    async def fail_late() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise KeyError("late")

    async def run() -> list[BaseException]:
        tasks = asyncio.create_task(fail()), asyncio.create_task(fail_late())
        await asyncio.sleep(0)
        return await end(*tasks)

    assert [type(error) for error in asyncio.run(run())] == [ValueError, KeyError]
