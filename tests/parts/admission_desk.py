"""Admissions with a store, a journal and a simulated /proc, in the test's process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Optional

from agent.audit.history import History
from agent.audit.record import Audit
from agent.leases.keys import PublicKey
from agent.leases.lease import Lease
from agent.lookup.admission import Admissions, Question
from agent.lookup.handouts import HandOuts
from tests.parts.leases import ed25519_key
from tests.parts.proc import PAM_ACCOUNT, Proc
from tests.parts.stores import Host

HERE, THERE = "192.0.2.7", "198.51.100.9"


class Desk:
    """A store over a journal, a simulated /proc, and the admissions that use them."""

    def __init__(self, folder: Path) -> None:
        self.host = Host(folder)
        self.proc = Proc(folder)
        self.folder = str(folder / "handed")
        self.records: list[dict[str, Any]] = []
        # Outcomes of the records that no flood may displace.
        self.kept: list[str] = []

    async def start(self) -> None:
        """Start a daemon's parts on what the last one has left."""
        self.store = await self.host.boot()
        self.handouts = HandOuts(self.folder, str(self.proc.root))
        self.handouts.open()
        audit = Audit(self._write, self.host.clock, History())
        self.admissions = Admissions(self.store, self.handouts, self.host.clock, audit)

    def _write(self, line: bytes, _: int, decision: tuple[str, str], essential: bool) -> None:
        self.records.append(json.loads(line))
        self.kept += [decision[1]] if essential else []

    async def push(self, key: Optional[PublicKey] = None, **more: Any) -> Lease:
        """Add a one-time key; `more` are further fields of its lease."""
        lease = self.host.lease(key=key or ed25519_key(), uses=1, **more)
        await self.store.add(lease)
        return lease

    async def ask(
        self, pid: int = PAM_ACCOUNT, address: str = HERE, *, partial: bool = False, uid: int = 0
    ) -> str:
        """Return the answer to pam-account."""
        answer = await self.admissions.answer(Question(address, partial), pid, uid)
        return answer.decode()

    def outcomes(self) -> list[tuple[str, str]]:
        """The admissions in the audit: outcome and request id."""
        mine = [record for record in self.records if record["event"] == "admission"]
        return [(record["outcome"], record.get("request_id", "")) for record in mine]


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Desk]:
    """A started desk, ended afterwards."""
    desk = Desk(folder)
    await desk.start()
    try:
        yield desk
    finally:
        desk.host.end()
