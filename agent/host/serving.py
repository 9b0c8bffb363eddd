"""Runs a daemon's work until it is told to stop, and notifies the service manager meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from agent.config.limits import LIMITS
from agent.host.systemd import Notifier


async def serve(work: Coroutine[Any, Any, None], status: str) -> None:
    """Work until SIGTERM or SIGINT. `status` is for `systemctl status`. Raises `work`'s errors."""
    notifier = Notifier(os.environ)
    working = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, working.cancel)
    beating = asyncio.create_task(_beat(notifier))
    notifier.ready(status)
    with suppress(asyncio.CancelledError):
        await working
    notifier.stopping()
    beating.cancel()


async def end(*tasks: asyncio.Task[Any]) -> list[BaseException]:
    """Cancel tasks and wait until they have ended. Returns the errors that they ended with.

    It cancels more than once: until Python 3.12 asyncio.wait_for drops a cancellation that arrives
    together with its result, and the task would go on.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=LIMITS.cancel_again_seconds)
    errors = [None if task.cancelled() else task.exception() for task in tasks]
    return [error for error in errors if error is not None]


async def _beat(notifier: Notifier) -> None:
    """Tell the service manager that the event loop still runs."""
    while True:
        notifier.watchdog()
        await asyncio.sleep(notifier.watchdog_interval or LIMITS.tend_seconds)
