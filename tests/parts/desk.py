"""The operator's actions in this process: a store, a manual clock and an audit log."""

from __future__ import annotations

import json
from typing import Any, Optional

from agent.audit.history import History
from agent.audit.record import Audit, Record
from agent.config import settings as config
from agent.config.document import Problems
from agent.config.identity import Identity
from agent.leases.journal import Journal
from agent.leases.store import LeaseStore
from agent.leases.turns import Turns
from agent.operations import Operator
from agent.sources.api.message import Peer
from agent.sources.context import Context
from agent.sources.replay import ReplayMemory
from tests.parts.clock import ManualClock

ROOT = Peer("unix", uid=0)
IDENTITY = Identity("i-0123456789abcdef0", "us-east-2b", "us-east-2")


class Desk:
    """The operator's actions and what they need, without a process or a socket."""

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
            Context(self.settings, IDENTITY, self.clock, self.audit, Turns(self.clock)),
            self.store,
            self._reload,
            {"lookup": "/run/lookup.sock", "push": "/run/push.sock"},
        )

    async def _reload(self) -> None:
        if self.problems:
            raise Problems(self.problems)

    def _write(self, line: bytes, *_: object) -> None:
        self.lines.append(json.loads(line))

    async def ask(self, action: str, peer: Peer = ROOT, **members: Any) -> dict[str, Any]:
        """Return the answer; the audit record is in `record`, and `quiet` is the answer's flag."""
        self.record = Record(action.lower(), "InternalFailure")
        asked = self.operator.actions()[f"Sixtykey.{action}"]
        answer = await asked(peer, json.dumps(members).encode(), self.record)
        self.quiet = answer.quiet
        return answer.body
