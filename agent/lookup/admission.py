"""Answers PAM's account phase: whether an sshd process that was handed a one-time key may log in.

Each push admits exactly one login. The lease is consumed durably before the answer is sent, so a
crash in between admits no second login. The same process is the same login, and gets the same
answer again.
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

# `admit ADDRESS[ partial]`. It cannot be a lookup, whose second word would be a fingerprint.
_LINE = re.compile(rb"admit ([0-9A-Fa-f:.%]{1,64}|-)( partial)?\n")


class Refused(Exception):
    """The login is refused; the text says why. `process` is the login's, if known."""

    def __init__(self, words: str, process: Optional[Process] = None) -> None:
        super().__init__(words)
        self.process = process


class _Recorded(Refused):
    """A refusal that is already in the audit, with the push that it concerns."""


class Question:
    """pam-account's question: the login's address, and whether other steps came before."""

    def __init__(self, address: str, partial: bool) -> None:
        self.address = address
        self.partial = partial

    @classmethod
    def parse(cls, line: bytes) -> Optional[Question]:
        """The question in a line; None when the line is something else."""
        match = _LINE.fullmatch(line)
        return None if match is None else cls(match[1].decode(), match[2] is not None)


class Admissions:
    """Admits one login for each push of a one-time key."""

    def __init__(self, store: LeaseStore, handouts: HandOuts, clock: Clock, audit: Audit) -> None:
        self._store = store
        self._handouts = handouts
        self._clock = clock
        self._audit = audit
        self._turns = Turns(clock)

    async def answer(self, question: Question, pid: int, uid: int) -> bytes:
        """Answer in one line: `yes`, or the reason for a refusal. `pid`, `uid`: pam-account's."""
        try:
            if uid != 0:
                raise Refused("only root may ask, as PAM does")
            processes = self._handouts.login_processes(pid)
            # One at a time: a second question is answered after the first use is durable.
            async with self._turns:
                for process in processes:
                    await self._admit(process, question)
        except (Refused, NotHandedOut) as refused:
            self._record(refused, question.address, uid)
            return f"{refused}\n".encode("ascii", "backslashreplace")
        return b"yes\n"

    def _record(self, refused: Exception, address: str, uid: int) -> None:
        """Record a refusal that concerns no known push."""
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
        # A login with several steps may have used any of the keys: all of them count.
        latest = () if hand_out.latest is None else (hand_out.latest,)
        for key in hand_out.given if question.partial else latest:
            # sshd refuses a key whose `from=` names another address, so it was not used.
            lines = [
                e for e in hand_out.given[key] if _may_come_from(question.address, e.pinned_source)
            ]
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
        """Consume one of the leases of this key that the process was handed."""
        # A login that has ended meanwhile may have left a use that is still being written.
        await self._store.finish_uses(line.request_id for line in lines)
        record = Record("admission", "refused", os_user=os_user, source=address)
        record.fingerprint, record.process = key, str(process)
        now = self._clock.boottime()
        try:
            if self._was_admitted(process, lines):
                return
            lease = self._choose_lease(os_user, lines, record)
            record.principal = lease.principal
            used = Consumption(lease.request_id, str(process), address, now, lease.expires_at)
            await self._store.consume(lease, used)
        except (Refused, NotDurable) as refused:
            record.reason = str(refused)
            self._audit.sample(record, ("refused login", os_user), now)
            raise _Recorded(f"{refused}") from None
        except asyncio.CancelledError:
            record.reason = (
                "the login ended before the answer: the key is used up, unless that cannot be "
                "recorded"
            )
            self._audit.sample(record, ("refused login", os_user), now)
            raise
        record.outcome = "admitted"
        self._audit.record(record)
        self._audit.history.record_use(lease, address, now)

    def _was_admitted(self, process: Process, lines: Iterable[Given]) -> bool:
        """Whether this login has already consumed one of these leases, and asks again."""
        found = (self._store.consumption(line.request_id) for line in lines)
        return any(used is not None and used.process == str(process) for used in found)

    def _choose_lease(self, os_user: str, lines: list[Given], record: Record) -> Lease:
        """The lease to consume: that of the first line, which sshd applied, or an equal one.

        A push with other options is not equal: this login has the first line's options.
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


def _may_come_from(address: str, pinned: Optional[str]) -> bool:
    """Whether sshd's `from=` may admit this address; true if the address is not known."""
    if pinned is None:
        return True
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return True
    return (getattr(found, "ipv4_mapped", None) or found) in ipaddress.ip_network(pinned)
