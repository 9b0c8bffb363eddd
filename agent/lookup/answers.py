"""Answers a lookup line with authorized_keys lines from the table."""

from __future__ import annotations

import asyncio
import re
from typing import Optional, Protocol

from agent.audit.history import Explanation
from agent.audit.record import Audit, Record
from agent.config.limits import LIMITS
from agent.host.clock import Clock
from agent.leases.lease import Lease
from agent.leases.table import LeaseTable
from agent.lookup.handouts import HandOuts, NotHandedOut

# The user name is sshd's %u: names on the host need not match the API's pattern. The fingerprint is
# sshd's %f, of either FingerprintHash (sshd_config(5)).
_LINE = re.compile(
    rb"([^\x00-\x20\x7f]{1,255})"
    rb"(?: (SHA256:[A-Za-z0-9+/]{43}|MD5:[0-9a-f]{2}(?::[0-9a-f]{2}){15}))?\n"
)


class Malformed(ValueError):
    """Not a lookup; it gets no answer."""


def parse(line: bytes) -> tuple[str, Optional[str]]:
    """The OS user, and the fingerprint if given. Raises Malformed."""
    match = _LINE.fullmatch(line)
    if match is None or len(line) > LIMITS.lookup_bytes:
        raise Malformed
    os_user, fingerprint = match.groups()
    named = None if fingerprint is None else fingerprint.decode()
    return os_user.decode("utf-8", "surrogateescape"), named


class PullSource(Protocol):
    """A source that is asked for keys."""

    def ask(self, os_user: str, fingerprint: Optional[str]) -> Optional[asyncio.Future[None]]:
        """A future that is done once the keys are in the table or time is up; None: do not wait."""


class Lookups:
    """Answers lookups from the table, and audits them; ordinary logins are only counted."""

    def __init__(
        self,
        table: LeaseTable,
        clock: Clock,
        audit: Audit,
        handouts: HandOuts,
        source: Optional[PullSource] = None,
    ) -> None:
        self._source = source
        self._handouts = handouts
        self._table = table
        self._clock = clock
        self._audit = audit

    def pull(self, line: bytes) -> Optional[asyncio.Future[None]]:
        """Ask the source unless a live key matches; returns what to wait for. Raises Malformed."""
        if self._source is None:
            return None
        os_user, fingerprint = parse(line)
        if self._find(os_user, fingerprint):
            return None
        return self._source.ask(os_user, fingerprint)

    def answer(self, line: bytes, pid: int, uid: int) -> bytes:
        """Answer a lookup line with authorized_keys lines. Raises Malformed.

        `pid` and `uid` are the helper's. A one-time key is given only to sshd's own helper, and
        only after the sshd process that gets it is recorded.

        A login of a user without a push is counted and not recorded: every ordinary login on the
        host is one.
        """
        os_user, fingerprint = parse(line)
        matching = self._find(os_user, fingerprint)
        given = [lease for lease in matching if lease.uses is None]
        now = self._clock.boottime()
        if matching and not given:
            try:
                given = self._hand_out(matching, fingerprint, pid)
            except NotHandedOut as error:
                words = f"a one-time key is not given: {error}"
                why = Explanation(words, matching[0].request_id)
                self._record_refusal(os_user, fingerprint, uid, why)
                return b""
        else:
            self._handouts.record_other(pid)
        for lease in given:
            record = Record(
                "lookup",
                "given",
                request_id=lease.request_id,
                principal=f"uid:{uid}",
                os_user=os_user,
                key_type=lease.key.type,
                fingerprint=lease.key.fingerprint,
            )
            self._audit.sample(record, ("given", lease.request_id), now)
        if not given:
            self._record_miss(os_user, fingerprint, uid, now)
        return "".join(lease.line for lease in given).encode()

    def _find(self, os_user: str, fingerprint: Optional[str]) -> list[Lease]:
        """The user's live leases of this key. One without a use left is being used up."""
        leases = self._table.of(os_user)
        return [lease for lease in leases if lease.uses != 0 and lease.is_for(fingerprint)]

    def _hand_out(self, leases: list[Lease], fingerprint: Optional[str], pid: int) -> list[Lease]:
        """The one-time leases of a key, after recording who gets them.

        Raises NotHandedOut: it could not be recorded, so PAM could not recognise the login later.
        """
        if fingerprint is None:
            raise NotHandedOut("AuthorizedKeysCommand in sshd_config must end with %u %f")
        self._handouts.record(self._handouts.login_process(pid), leases)
        return leases

    def _record_miss(self, os_user: str, fingerprint: Optional[str], uid: int, now: float) -> None:
        history = self._audit.history
        why = history.explain(os_user, fingerprint, now)
        if why is None:
            self._audit.count("lookup", "none")
            history.record_miss(os_user, fingerprint, now)
            return
        self._record_refusal(os_user, fingerprint, uid, why)

    def _record_refusal(
        self, os_user: str, fingerprint: Optional[str], uid: int, why: Explanation
    ) -> None:
        record = Record(
            "lookup",
            "none",
            request_id=why.request_id,
            principal=f"uid:{uid}",
            os_user=os_user,
            fingerprint=fingerprint,
            reason=why.reason,
        )
        self._audit.sample(record, ("unmatched", os_user), self._clock.boottime())
