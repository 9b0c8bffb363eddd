"""The reserve of memory is checked without being used, and without it pushes are refused."""

from __future__ import annotations

import asyncio
import os

import pytest

from agent.config import settings as config
from agent.config.limits import LIMITS
from agent.host.memory import check_reserve
from agent.leases import store as store_module
from agent.leases.lease import NotDurable
from agent.leases.store import LeaseStore
from agent.sources.replay import ReplayMemory
from tests.faults.load import resident_mib
from tests.parts.clock import ManualClock
from tests.parts.leases import make_lease

NOBODY_HAS = 1 << 60


def test_the_reserve_is_looked_for_and_not_taken() -> None:
    """Checking an available reserve uses no memory; a missing one raises MemoryError."""
    before = resident_mib(os.getpid())
    for _ in range(100):
        check_reserve(64 * 1024 * 1024)
    assert resident_mib(os.getpid()) < before + 16
    with pytest.raises(MemoryError):
        check_reserve(NOBODY_HAS)


def test_without_a_reserve_pushes_are_refused_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the reserve, pushes are refused and reported, and live leases stay."""
    said: list[str] = []
    clock = ManualClock()
    store = LeaseStore(config.Keys(), None, ReplayMemory(clock), clock, said.append)
    lease = make_lease("alice")
    asyncio.run(store.add(lease))
    store.check()
    monkeypatch.setattr(store_module, "LIMITS", LIMITS._replace(memory_reserve_bytes=NOBODY_HAS))
    with pytest.raises(NotDurable, match="out of memory"):
        store.check()
    asyncio.run(store.tend())
    assert said == ["pushes are refused: out of memory"]
    assert store.table.of("alice") == (lease,)
    store.close()
