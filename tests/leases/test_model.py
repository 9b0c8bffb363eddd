"""The lease store behaves as the simplest model that could be right: a dict and a clock."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Optional, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agent.config import settings as config
from agent.leases.journal import Journal
from agent.leases.lease import NotDurable, TableFull
from agent.leases.store import LeaseStore
from agent.sources.replay import ReplayMemory
from tests.parts.clock import ManualClock
from tests.parts.leases import ed25519_key, make_lease

T = TypeVar("T")
USERS = ("alice", "bob", "carol")
KEYS = tuple(ed25519_key(number) for number in range(1, 6))
LIFETIME, PER_USER, TOTAL = 60.0, 3, 5
SETTINGS = config.Keys(per_user=PER_USER, total=TOTAL)

users, keys = st.sampled_from(USERS), st.sampled_from(range(len(KEYS)))


class Leases(RuleBasedStateMachine):
    """Pushes, lookups, revocations, the passing of time, restarts and outages, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        # The model: what was acknowledged, for whom, until when.
        self.acknowledged: dict[tuple[str, int], tuple[str, float]] = {}
        self.usable = True
        self.store: Optional[LeaseStore] = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        return self._loop.run_until_complete(work)

    def live(self, user: str) -> list[str]:
        """What the model says a lookup gives."""
        now = self.clock.boottime()
        return [
            name for (who, _), (name, end) in self.acknowledged.items() if who == user and now < end
        ]

    @initialize()
    def start(self) -> None:
        """Start the first process."""
        self.restart()

    @rule()
    def restart(self) -> None:
        """End the process, however it ends, and start another on the same journal."""
        if not self.usable:
            self.mend()
        if self.store is not None:
            self.store.close()
        path = Path(self._folder.name) / "leases.db"
        journal = Journal(str(path), "boot")
        self.store = LeaseStore(
            SETTINGS, journal, ReplayMemory(self.clock), self.clock, lambda _: None
        )
        self.run(self.store.open())
        self.run(self.store.load_marks())

    @rule(user=users, key=keys)
    def push(self, user: str, key: int) -> None:
        """Push a key that may be live already; it is accepted only when there is room."""
        assert self.store is not None
        others = [name for name in self.live(user) if name != self._name(user, key)]
        everyone = [name for who in USERS for name in self.live(who)]
        count = len([name for name in everyone if name != self._name(user, key)])
        lease = make_lease(user, KEYS[key], at=self.clock.boottime(), lifetime=LIFETIME)
        full = len(others) >= PER_USER or count >= TOTAL
        if full or not self.usable:
            # When the journal is unusable and the table full, either error may be raised.
            with pytest.raises((TableFull,) if self.usable else (NotDurable, TableFull)):
                self.run(self.store.add(lease))
            return
        self.run(self.store.add(lease))
        self.acknowledged[user, key] = (lease.request_id, lease.expires_at)

    def _name(self, user: str, key: int) -> Optional[str]:
        return self.acknowledged.get((user, key), (None, 0.0))[0]

    @rule(user=users, key=keys)
    def revoke(self, user: str, key: int) -> None:
        """Revoke a key, whether or not it is live and whether or not the journal is usable."""
        assert self.store is not None
        gone = [lease for lease in self.store.table.of(user) if lease.key == KEYS[key]]
        try:
            self.run(self.store.revoke(gone))
        except NotDurable:
            assert not self.usable
        self.acknowledged.pop((user, key), None)

    @rule(seconds=st.sampled_from([0.001, 0.5, 7.0, 29.999, 30.0, 30.001, 59.999, 60.0, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        """Time passes, awake or asleep."""
        self.clock.advance(seconds)

    @rule(hours=st.integers(-24, 24))
    def wall_clock_is_set(self, hours: int) -> None:
        """The wall clock is set, which must change no lease."""
        self.clock.set_wall(self.clock.wall() + hours * 3600.0)

    @rule()
    def journal_breaks(self) -> None:
        """The journal becomes unusable under the running daemon."""
        assert self.store is not None
        assert self.store._journal is not None
        self.store._journal.close()
        self.usable = False

    @rule()
    def mend(self) -> None:
        """The daemon tends its journal, as it does every few seconds."""
        assert self.store is not None
        self.run(self.store.tend())
        self.usable = True

    @invariant()
    def lookups_give_what_was_acknowledged(self) -> None:
        """Lookups give every acknowledged live lease, and no other."""
        if self.store is None:
            return
        for user in USERS:
            served = [lease.request_id for lease in self.store.table.of(user)]
            assert sorted(served) == sorted(self.live(user))
        assert len(self.store.table) == sum(len(self.live(user)) for user in USERS)

    def teardown(self) -> None:
        """Close the store, the loop and the folder."""
        if self.store is not None:
            self.store.close()
        self._loop.close()
        self._folder.cleanup()


TestLeases = Leases.TestCase
TestLeases.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
