"""Replay memory and journal against a model: crashes, losses, reboots, and clocks that are set.

A captured request must never be accepted as new, with one exception named in
docs/decisions/replay-memory.md. After a loss, a request dated later than the loss may be, because
the clock of the pusher or of the host was fast.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.config import settings as config
from agent.config.limits import LIMITS
from agent.leases.journal import Journal
from agent.leases.lease import Lease, NotDurable, ReplayMark
from agent.leases.store import LeaseStore
from agent.sources.replay import ReplayMemory, ReplayMemoryFull, TooOld
from tests.parts.clock import ManualClock
from tests.parts.leases import make_lease, mark

T = TypeVar("T")
PRINCIPALS = ("a", "b", "c")
LIMIT = 8
SKEW = LIMITS.clock_skew_seconds
LOSSES = ("nothing left", "rubbish", "marks changed", "reboot", "reboot, nothing left")


@dataclass
class Accepted:
    """An accepted push. `excused`: after a loss it may be accepted once more."""

    mark: ReplayMark
    lease: Lease
    excused: bool = False


class Replays(RuleBasedStateMachine):
    """Pushes, replays, the passing of time, and every event that may hit journal and clocks."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._loop = asyncio.new_event_loop()
        self._numbers = itertools.count(1)
        self._starts = itertools.count(1)
        self.clock = ManualClock()
        self.boot = 1
        self.accepted: list[Accepted] = []
        self.live: list[Lease] = []
        # Whether the journal is usable, and whether its files are at its path.
        self.usable, self.in_place = True, True
        # The last loss (CLOCK_BOOTTIME); whether a push was accepted since, in memory and on file.
        self.lost_at, self.fixed, self.fixed_for_good = 0.0, False, False
        # By how much the wall clock is wrong (s), and whether anybody ever set it.
        self.wrong, self.wall_was_set = 0.0, False
        self.store: Optional[LeaseStore] = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        return self._loop.run_until_complete(work)

    @property
    def now(self) -> float:
        """CLOCK_BOOTTIME, s."""
        return self.clock.boottime()

    def lose(self, lost_at: float) -> None:
        """Note a loss: everything dated before it must be refused from now on, or known."""
        self.lost_at, self.fixed, self.fixed_for_good = lost_at, False, False
        self._excuse()

    def _excuse(self) -> None:
        if not self.fixed:
            instant = self.clock.wall() - (self.now - self.lost_at)
            for each in self.accepted:
                each.excused |= each.mark.dated > instant

    @initialize()
    def first_start(self) -> None:
        """The first process finds no journal."""
        self.path = Path(self._folder.name) / "0" / "leases.db"
        self.path.parent.mkdir()
        self._start()
        self.lose(self.now - LIMITS.restart_seconds)
        self.clock.advance(5.0)
        self.push("a", 0)
        self.push("b", 0)

    def _start(self) -> None:
        self.memory = ReplayMemory(self.clock, LIMIT)
        journal = Journal(str(self.path), f"boot {self.boot}")
        self.store = LeaseStore(
            config.Keys(), journal, self.memory, self.clock, lambda _: None, in_memory=True
        )
        self.run(self.store.open())
        self.run(self.store.load_marks())
        self.usable, self.in_place = True, True
        self.fixed = self.fixed_for_good
        self._excuse()

    def _crash(self) -> None:
        """End the process as SIGKILL does: only the files present now are left."""
        assert self.store is not None
        found = self.path.parent
        self.path = Path(self._folder.name) / str(next(self._starts)) / "leases.db"
        shutil.copytree(found, self.path.parent)
        self.store.close()

    def _lose_all(self, lost_at: float) -> None:
        self.live.clear()
        self._start()
        self.lose(lost_at)

    @rule(principal=st.sampled_from(PRINCIPALS), age=st.sampled_from([0, 0, 0, 30, 900, -30, -900]))
    def push(self, principal: str, age: int) -> None:
        """A new request, signed by a clock that is right, slow or fast."""
        new = mark(next(self._numbers), self.clock.wall() - age)
        try:
            self._offer(new, principal)
        except TooOld:
            assert age or self.wall_was_set or self.now <= self.lost_at

    def _offer(self, offered: ReplayMark, principal: str) -> None:
        """Offer a request as the intake does. Raises TooOld."""
        assert self.store is not None
        try:
            self.store.check()
            assert self.usable
        except NotDurable:
            assert not self.usable
            return
        try:
            assert self.memory.recall(offered, principal) is None
        except ReplayMemoryFull:
            self._check_throttled_rightly(principal)
            return
        lease = make_lease(f"user {principal}", at=self.now, mark=offered, principal=principal)
        self.run(self.store.add(lease))
        self.accepted.append(Accepted(offered, lease))
        self.live.append(lease)
        self.fixed = True

    def _check_throttled_rightly(self, principal: str) -> None:
        held = Counter(each.principal for each in self.memory.accepted())
        others = set(held) - {principal}
        assert held[principal] or len(others) > 1, "one principal throttles another"

    @rule(seconds=st.sampled_from([0.5, 2.0, 2.0, 29.0, 61.0, 901.0]))
    def time_passes(self, seconds: float) -> None:
        """Time passes, awake or asleep."""
        self.clock.advance(seconds)

    @rule(wrong=st.sampled_from([0.0, 0.0, -600.0, -5.0, 5.0, 600.0, 3600.0, -3600.0]))
    def wall_clock_is_set(self, wrong: float) -> None:
        """The wall clock is set: right, or wrong by this many seconds."""
        self.clock.set_wall(self.clock.wall() + wrong - self.wrong)
        self.wrong, self.wall_was_set = wrong, True
        self._excuse()

    @rule()
    def tend(self) -> None:
        """Forget and mend what is due, as the daemon does every few seconds."""
        assert self.store is not None
        self.run(self.store.tend())
        self.usable, self.in_place = True, True
        self.fixed_for_good = self.fixed

    @rule()
    def journal_is_unlinked(self) -> None:
        """The journal is unlinked under the running daemon, which has not noticed yet."""
        for file in self.path.parent.iterdir():
            file.unlink()
        self.in_place = False

    @rule()
    def journal_is_unlinked_and_mended(self) -> None:
        """The journal is unlinked, and mended before anything else happens."""
        self.journal_is_unlinked()
        self.tend()

    @precondition(lambda self: self.in_place)
    @rule()
    def journal_breaks(self) -> None:
        """The journal becomes unusable under the running daemon."""
        assert self.store is not None
        assert self.store._journal is not None
        self.store._journal.close()
        self.usable = False

    @rule(jump=st.sampled_from([3600.0, -3600.0]), tended=st.booleans())
    def wall_clock_jumps_and_comes_back(self, jump: float, tended: bool) -> None:
        """The wall clock is set wrong and right again, with or without tending in between."""
        self.wall_clock_is_set(jump)
        self.memory.forget()
        if tended:
            self.tend()
        self.wall_clock_is_set(0.0)

    @rule(crash=st.booleans())
    def push_and_restart(self, crash: bool) -> None:
        """A push followed at once by a restart keeps every acknowledged lease."""
        self.push("a", 0)
        self.restart("crash" if crash else "stop")

    @rule(how=st.sampled_from(LOSSES))
    def restart(self, how: str) -> None:
        """End the process, in order ("stop") or by SIGKILL, and start another on its files."""
        assert self.store is not None
        there = self.in_place
        if how == "stop":
            self.store.close()
        else:
            self._crash()
        if how in {"reboot", "reboot, nothing left"}:
            self.boot += 1
            self.clock = ManualClock(20.0, self.clock.wall() + 15.0)
        if how in {"nothing left", "reboot, nothing left"}:
            for file in self.path.parent.iterdir():
                file.unlink()
            there = False
        if not there:
            self._lose_all(self.now - LIMITS.restart_seconds)
        elif how == "reboot":
            self._lose_all(0.0)
        elif how == "rubbish":
            for file in self.path.parent.glob("leases.db*"):
                file.write_bytes(b"rubbish" * 1000)
            self._lose_all(self.now)
        elif how == "marks changed":
            self._start_with_changed_marks()
        else:
            self._start()

    def _start_with_changed_marks(self) -> None:
        """Start with changed marks: live leases stay, and all marks count as lost if any are."""
        database = sqlite3.connect(self.path)
        changed = database.execute("UPDATE marks SET dated = dated + 1").rowcount
        database.commit()
        database.close()
        self._start()
        if changed:
            self.lose(self.now)

    @invariant()
    def what_was_acknowledged_is_served(self) -> None:
        """Every acknowledged lease is served until its end, and none after it."""
        if self.store is None:
            return
        served = [each.request_id for each in self.store.table.live()]
        live = [each.request_id for each in self.live if self.now < each.expires_at]
        assert sorted(served) == sorted(live)

    @invariant()
    def no_captured_request_is_new(self) -> None:
        """A replayed request within its validity is known, too old, or excused."""
        for each in self.accepted if self.store is not None else ():
            if abs(self.clock.wall() - each.mark.dated) > SKEW:
                continue  # refused as RequestExpired, with or without a mark
            try:
                known = self.memory.recall(each.mark, each.lease.principal)
            except (TooOld, ReplayMemoryFull):
                continue
            assert known == each.lease.request_id or (known is None and each.excused)

    @invariant()
    def memory_is_bounded(self) -> None:
        """The memory stays within its limit as long as nobody sets the wall clock."""
        if self.store is not None:
            assert len(self.memory) <= LIMIT or self.wall_was_set

    def teardown(self) -> None:
        """Close the store, the loop and the folder."""
        if self.store is not None:
            self.store.close()
        self._loop.close()
        self._folder.cleanup()


# 200 runs of 30 steps take half a minute, or several minutes on a busy machine.
TestReplays = pytest.mark.timeout(600)(Replays.TestCase)
TestReplays.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
