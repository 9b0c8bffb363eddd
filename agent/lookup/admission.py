"""PAM's account phase: whether an sshd process that was handed a one-time key may go on.

Exactly one login is admitted for each push. The lease is consumed durably before the answer is
given, so a crash in between admits nobody else; the same process, which is the same login, gets the
same answer again.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Iterable
from typing import Optional

from agent.audit.record import Audit, Record
from agent.host.clock import Clock
from agent.host.process import Process
from agent.leases.consumption import Consumption
from agent.leases.lease import Lease, NotDurable
from agent.leases.store import LeaseStore
from agent.leases.turns import Turns
from agent.lookup.handouts import Given, HandOut, HandOuts, NotHandedOut

# `admit ADDRESS[ partial]`: no lookup, whose second word would be a fingerprint.
_LINE = re.compile(rb"admit ([0-9A-Fa-f:.%]{1,64}|-)( partial)?\n")


class Refused(Exception):
    """This login may not go on; the words say why. `process` is its own, where that is known."""

    def __init__(self, words: str, process: Optional[Process] = None) -> None:
        super().__init__(words)
        self.process = process


class _Recorded(Refused):
    """A refusal that the audit has already, with the push that it is about."""


class Question:
    """What pam-account asks: from where the login comes, and whether other steps came before."""

    def __init__(self, address: str, partial: bool) -> None:
        self.address = address
        self.partial = partial

    @classmethod
    def parse(cls, line: bytes) -> Optional[Question]:
        """The question in a line; None when the line is something else."""
        match = _LINE.fullmatch(line)
        return None if match is None else cls(match[1].decode(), match[2] is not None)


class Admissions:
    """Says yes once for each push of a one-time key."""

    def __init__(self, store: LeaseStore, handouts: HandOuts, clock: Clock, audit: Audit) -> None:
        self._store = store
        self._handouts = handouts
        self._clock = clock
        self._audit = audit
        self._turns = Turns(clock)

    async def answer(self, question: Question, pid: int, uid: int) -> bytes:
        """`yes`, or why not, in one line. `pid` and `uid` are pam-account's own."""
        try:
            if uid != 0:
                raise Refused("only root may ask, as PAM does")
            processes = self._handouts.login_processes(pid)
            # In turn: whoever asks a second time is answered when the first use is written down.
            async with self._turns:
                for process in processes:
                    await self._admit(process, question)
        except (Refused, NotHandedOut) as refused:
            self._record(refused, question.address, uid)
            return f"{refused}\n".encode("ascii", "backslashreplace")
        return b"yes\n"

    def _record(self, refused: Exception, address: str, uid: int) -> None:
        """Record a refusal of which no push is known."""
        if isinstance(refused, _Recorded):
            return
        record = Record("admission", "refused", principal=f"uid:{uid}", source=address)
        record.reason = str(refused)
        if isinstance(refused, Refused) and refused.process is not None:
            record.process = str(refused.process)
        self._audit.sample(record, ("refused login", f"uid:{uid}"), self._clock.boottime())

    async def _admit(self, process: Process, question: Question) -> None:
        hand_out = self._read(process)
        if hand_out is None:
            return
        # A login of several steps may have used any of them before the last one: all count.
        latest = () if hand_out.latest is None else (hand_out.latest,)
        for key in hand_out.given if question.partial else latest:
            # Keys that sshd refused, for their `from=` names another place, opened nothing.
            lines = [e for e in hand_out.given[key] if _lets_in(question.address, e.pinned_source)]
            if lines:
                await self._use(process, hand_out.os_user, key, lines, question.address)

    def _read(self, process: Process) -> Optional[HandOut]:
        try:
            return self._handouts.read(process)
        except (OSError, ValueError) as error:
            words = f"what this login was handed cannot be read: {error}"
            raise Refused(words, process) from None

    async def _use(
        self, process: Process, os_user: str, key: str, lines: list[Given], address: str
    ) -> None:
        """Consume one of the pushes of this key that the process was handed."""
        record = Record("admission", "refused", os_user=os_user, source=address)
        record.fingerprint, record.process = key, str(process)
        now = self._clock.boottime()
        try:
            if self._was_admitted(process, lines):
                return
            lease = self._fitting(os_user, lines, record)
            record.principal = lease.principal
            used = Consumption(lease.request_id, str(process), address, now, lease.expires_at)
            await self._store.consume(lease, used)
        except (Refused, NotDurable) as refused:
            record.reason = str(refused)
            self._audit.sample(record, ("refused login", os_user), now)
            raise _Recorded(f"{refused}") from None
        except asyncio.CancelledError:
            record.reason = "whoever asked had gone before it was written down: it is used up"
            self._audit.sample(record, ("refused login", os_user), now)
            raise
        record.outcome = "admitted"
        self._audit.record(record)
        self._audit.history.record_use(lease, address, now)

    def _was_admitted(self, process: Process, lines: Iterable[Given]) -> bool:
        """Whether it asks again: this very login has used one of these."""
        found = (self._store.consumption(line.request_id) for line in lines)
        return any(used is not None and used.process == str(process) for used in found)

    def _fitting(self, os_user: str, lines: list[Given], record: Record) -> Lease:
        """The push to use: that of the first line, by which sshd went, or another like it.

        Pushes with other options are none: this login has those of the first line.
        """
        alike = [line for line in lines if line.options == lines[0].options]
        live = {lease.request_id: lease for lease in self._store.table.of(os_user)}
        for line in alike:
            record.request_id = line.request_id
            lease = live.get(line.request_id)
            if lease is not None and lease.uses:
                return lease
        for line in reversed(alike):
            used = self._store.consumption(line.request_id)
            if used is not None:
                record.request_id = line.request_id
                ago = self._clock.boottime() - used.at
                raise Refused(
                    f"the one-time key was used once already, {ago:.0f} s ago, by the login from "
                    f"{used.source} (request {line.request_id})"
                )
        raise Refused("the one-time key is no longer live")


def _lets_in(address: str, pinned: Optional[str]) -> bool:
    """Whether `from=` may have let a login from there in; where nobody knows from where, it may."""
    if pinned is None:
        return True
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return True
    return (getattr(found, "ipv4_mapped", None) or found) in ipaddress.ip_network(pinned)
