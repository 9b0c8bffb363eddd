"""A host's stores, one after the other over one journal, with a manual clock."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any, Optional

from agent.config import settings as config
from agent.leases.journal import Journal
from agent.leases.lease import Lease
from agent.leases.store import LeaseStore
from agent.sources.replay import ReplayMemory
from tests.parts.clock import ManualClock
from tests.parts.leases import make_lease


class Host:
    """Successive daemons' stores over one journal file and one clock."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "run" / "leases.db"
        self.path.parent.mkdir()
        self.clock = ManualClock()
        self.said: list[str] = []
        self.stores: list[LeaseStore] = []
        self._crashes = itertools.count(1)

    async def boot(self, keys: Optional[config.Keys] = None, boot_id: str = "one") -> LeaseStore:
        """End the last store and open another."""
        self.end()
        journal = Journal(str(self.path), boot_id)
        store = self.store(journal, keys)
        await store.open()
        await store.load_marks()
        return store

    def crash(self) -> None:
        """End the last store as SIGKILL does: the next one finds the files as they are now."""
        found = self.path.parent
        self.path = found.parent / f"after crash {next(self._crashes)}" / self.path.name
        shutil.copytree(found, self.path.parent)
        self.end()

    def store(self, journal: Optional[Journal], keys: Optional[config.Keys] = None) -> LeaseStore:
        """A store that is not opened yet, with a new replay memory."""
        self.memory = ReplayMemory(self.clock)
        store = LeaseStore(
            keys or config.Keys(), journal, self.memory, self.clock, self.said.append
        )
        self.stores.append(store)
        return store

    def end(self) -> None:
        """End the last store."""
        while self.stores:
            self.stores.pop().close()

    def lease(self, os_user: str = "alice", lifetime: float = 60.0, **more: Any) -> Lease:
        """A lease pushed now; `more` are further fields of it."""
        return make_lease(os_user, at=self.clock.boottime(), lifetime=lifetime, **more)


def served(store: LeaseStore, os_user: str = "alice") -> list[str]:
    """The request ids of a user's live leases."""
    return [lease.request_id for lease in store.table.of(os_user)]
