"""Decides how long a key lives. No I/O, no clock."""

from __future__ import annotations

from typing import Optional, TypeVar

Seconds = TypeVar("Seconds", int, float)


def decide(host: Seconds, *others: Optional[Seconds]) -> Seconds:
    """The key's lifetime: the shortest one of all. So each can tighten it, and none can extend it.

    Args:
        host: the lifetime in the configuration (`keys.lifetime`), in s.
        others: what the credential and the source of the offer allow, in s; None: no limit.
    """
    decided = host
    for seconds in others:
        if seconds is not None:
            decided = min(decided, seconds)
    return decided
