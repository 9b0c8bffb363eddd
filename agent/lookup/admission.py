"""PAM's account phase: whether an sshd process that was handed a one-time key may go on.

Exactly one login is admitted for each push. The lease is consumed durably before the answer is
given, so a crash in between admits nobody else; the same process, which is the same login, gets the
same answer again.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Optional

from agent.audit.record import Audit, Record
from agent.host.clock import Clock
from agent.host.process import Process
from agent.leases.consumption import Consumption
from agent.leases.lease import Lease, NotDurable
from agent.leases.store import LeaseStore
from agent.lookup.handouts import HandOut, HandOuts, NotHandedOut

# `admit ADDRESS[ partial]`: no lookup, whose second word would be a fingerprint.
_LINE = re.compile(rb"admit ([0-9A-Fa-f:.%]{1,64}|-)( partial)?\n")


class Refused(Exception):
    """This login may not go on; the words say why."""


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

    async def answer(self, question: Question, pid: int, uid: int) -> bytes:
        """`yes`, or why not, in one line. `pid` and `uid` are pam-account's own."""
        try:
            if uid != 0:
                raise Refused("only root may ask, as PAM does")
            process = self._handouts.login_process(pid)
            await self._admit(process, question)
        except (Refused, NotHandedOut) as refused:
            return f"{refused}\n".encode("ascii", "backslashreplace")
        return b"yes\n"

    async def _admit(self, process: Process, question: Question) -> None:
        hand_out = self._read(process)
        if hand_out is None:
            return
        # A login of several steps may have used any of them before the last one: all count.
        latest = () if hand_out.latest is None else (hand_out.latest,)
        for key in hand_out.given if question.partial else latest:
            await self._use(process, hand_out, key, question.address)

    def _read(self, process: Process) -> Optional[HandOut]:
        try:
            return self._handouts.read(process)
        except (OSError, ValueError) as error:
            raise Refused(f"what this login was handed cannot be read: {error}") from None

    async def _use(self, process: Process, hand_out: HandOut, key: str, address: str) -> None:
        """Consume one of the leases of this key that the process was handed."""
        ids = hand_out.given[key]
        record = Record("admission", "refused", os_user=hand_out.os_user, source=address)
        record.fingerprint, record.process = key, str(process)
        try:
            for request_id in ids:
                used = self._store.consumption(request_id)
                if used is not None and used.process == str(process):
                    return  # asked again: this very login was admitted
            lease = self._fitting(hand_out, ids, address)
            record.request_id, record.principal = lease.request_id, lease.principal
            now = self._clock.boottime()
            await self._store.consume(
                lease, Consumption(lease.request_id, str(process), address, now, lease.expires_at)
            )
        except (Refused, NotDurable) as refused:
            record.reason = str(refused)
            group = ("refused login", hand_out.os_user)
            self._audit.sample(record, group, self._clock.boottime())
            raise Refused(f"{refused}") from None
        record.outcome = "admitted"
        self._audit.record(record)
        self._audit.history.record_use(lease, address, now)

    def _fitting(self, hand_out: HandOut, ids: tuple[str, ...], address: str) -> Lease:
        """The lease that sshd went by: the first of its lines whose `from=` lets the address in."""
        live = {lease.request_id: lease for lease in self._store.table.of(hand_out.os_user)}
        for request_id in ids:
            lease = live.get(request_id)
            if lease is not None and lease.uses and _is_within(address, lease.pinned_source):
                return lease
        for request_id in reversed(ids):
            used = self._store.consumption(request_id)
            if used is not None:
                ago = self._clock.boottime() - used.at
                raise Refused(
                    f"the one-time key was used once already, {ago:.0f} s ago, by the login from "
                    f"{used.source} (request {request_id})"
                )
        raise Refused("the one-time key is no longer live")


def _is_within(address: str, pinned: Optional[str]) -> bool:
    if pinned is None:
        return True
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
        return (getattr(found, "ipv4_mapped", None) or found) in ipaddress.ip_network(pinned)
    except ValueError:
        return False
