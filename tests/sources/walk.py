"""Follows a request through the modules of agent/, and finds where it climbs back.

A walk enters a module, perhaps several times in a row, goes on to others, and does not come back.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Optional

import agent

_AGENT = os.path.dirname(agent.__file__) + "/"


@dataclass(frozen=True)
class Step:
    """A call from one module into another; `within` are the modules that wait for its return."""

    caller: str
    module: str
    within: frozenset[str]

    def __str__(self) -> str:
        return f"{self.caller} -> {self.module}"


@dataclass
class Walk:
    """The steps below the module `root`; other tasks of the process run in between."""

    root: str
    steps: list[Step] = field(default_factory=list)
    _seen: set[FrameType] = field(default_factory=set)

    def profile(self, frame: FrameType, event: str, _: Any) -> None:
        """Note a call (sys.setprofile). A coroutine that goes on has been noted before."""
        module = _module_of(frame) if event == "call" else None
        if module is None or frame in self._seen:
            return
        self._seen.add(frame)  # held, so that no later frame is taken for it
        callers = [name for name in map(_module_of, _above(frame)) if name is not None]
        if callers and callers[-1] == self.root and callers[0] != module:
            self.steps.append(Step(callers[0], module, frozenset(callers)))


def _module_of(frame: FrameType) -> Optional[str]:
    """The module's path below agent/; None for code of others."""
    path = frame.f_code.co_filename
    return path[len(_AGENT) :] if path.startswith(_AGENT) else None


def _above(frame: FrameType) -> Iterator[FrameType]:
    above = frame.f_back
    while above is not None:
        yield above
        above = above.f_back


@contextmanager
def walking(root: str) -> Iterator[Walk]:
    """Follow what the module `root` calls in this thread while the block runs.

    Raises RuntimeError: somebody else has replaced the profile function meanwhile.
    """
    walk, before = Walk(root), sys.getprofile()
    sys.setprofile(walk.profile)
    try:
        yield walk
        if sys.getprofile() != walk.profile:
            raise RuntimeError("the walk was not followed to its end")
    finally:
        sys.setprofile(before)


def until_answered(steps: Sequence[Step], doors: Collection[str]) -> list[Step]:
    """The steps up to the door's answer: from there the answer goes back the same way."""
    first = next(at for at, step in enumerate(steps) if step.module in doors)
    beyond = [step for step in steps[first + 1 :] if step.within & set(doors)]
    return [*steps[: first + 1], *beyond]


def climbs(steps: Sequence[Step]) -> list[Step]:
    """Every step into a module that was left before, or into one that waits for a return.

    A module is left when another one is entered without its waiting for that.
    """
    found: list[Step] = []
    visited: set[str] = set()
    left: set[str] = set()
    for step in steps:
        if step.module in left or step.module in step.within:
            found.append(step)
        left |= visited - step.within
        left.discard(step.module)
        visited.add(step.module)
    return found
