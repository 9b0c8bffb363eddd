"""An operator's desk in this process: a store, a clock moved by hand, an audit log, and actions."""

from __future__ import annotations

import json
from typing import Any, Optional

from agent.audit.history import History
from agent.audit.record import Audit
from agent.config import settings as config
from agent.config.document import Problems
from agent.config.identity import Identity
from agent.leases.journal import Journal
from agent.leases.store import LeaseStore
from agent.operations import Operator
from agent.sources.api.message import Peer
from agent.sources.replay import ReplayMemory
from tests.parts.clock import ManualClock

ROOT = Peer("unix", uid=0)


class Desk:
    """What an operator has to do with, without a process or a socket."""

    def __init__(self, journal: Optional[str] = None) -> None:
        self.clock = ManualClock()
        self.lines: list[dict[str, Any]] = []
        self.audit = Audit(self._write, self.clock, History())
        self.settings = config.Config(journal=journal)
        self.problems: list[str] = []
        self.store = self.new_store()
        self.operator = self._operator()

    def new_store(self) -> LeaseStore:
        """A store over the same journal, as after a restart."""
        path = self.settings.journal
        journal = None if path is None else Journal(path)
        return LeaseStore(self.settings.keys, journal, ReplayMemory(self.clock), self.clock, print)

    def _operator(self) -> Operator:
        return Operator(
            self.settings,
            Identity("i-0123456789abcdef0", "us-east-2b", "us-east-2"),
            self.store,
            self.clock,
            self.audit,
            self._reload,
        )

    def _reload(self) -> None:
        if self.problems:
            raise Problems(self.problems)

    def _write(self, line: bytes) -> None:
        self.lines.append(json.loads(line))

    async def ask(self, action: str, peer: Peer = ROOT, **members: Any) -> dict[str, Any]:
        """The answer's body; its audit facts are in `facts`."""
        self.facts: dict[str, Any] = {"event": action.lower()}
        asked = self.operator.actions()[f"Sixtykey.{action}"]
        return await asked(peer, json.dumps(members).encode(), self.facts)
