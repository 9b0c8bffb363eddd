"""Waits for something that another process or thread does."""

from __future__ import annotations

import time
from typing import Any, Callable, TypeVar

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds after which a wait has failed."""


def wait_until(
    found: Callable[[], T],
    failure: Callable[[], Any],
    *,
    gone: Callable[[], bool] = lambda: False,
    pause: float = 0.02,
    seconds: float = PATIENCE,
) -> T:
    """Call `found` until it returns something true, and return that.

    Raises RuntimeError with what `failure` returns: it took too long, or who would do it is `gone`.
    """
    end = time.monotonic() + seconds
    while not (value := found()):
        if time.monotonic() > end or gone():
            raise RuntimeError(failure())
        time.sleep(pause)
    return value
