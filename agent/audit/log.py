"""A process's audit log: the audit, the writer of its lines, and the regular work for both."""

from __future__ import annotations

import asyncio

from agent.audit.history import History
from agent.audit.lines import LineWriter
from agent.audit.record import Audit, Record
from agent.config.limits import LIMITS
from agent.host.clock import Clock


class AuditLog:
    """Writes the records of `audit` to a descriptor; `tend` must be called again and again."""

    def __init__(self, clock: Clock, history: History, descriptor: int = 1) -> None:
        self._clock = clock
        self._lines = LineWriter(descriptor)
        self.audit = Audit(self._lines.write, clock, history)

    def tend(self) -> float:
        """Write waiting lines, and record drops and sums that are due. Never waits.

        Returns the seconds until it should be called again.
        """
        self._lines.flush()
        self.audit.report_dropped(self._lines.take_dropped())
        self.audit.report_summed()
        return LIMITS.audit_retry_seconds if self._lines.waiting else LIMITS.tend_seconds

    async def drain(self) -> None:
        """Wait a limited time for the log; lines that are left after that may be lost."""
        end = self._clock.boottime() + LIMITS.audit_drain_seconds
        while self._lines.waiting and self._clock.boottime() < end:
            self._lines.flush()
            await asyncio.sleep(LIMITS.drain_poll_seconds)

    def end(self, stop: Record) -> None:
        """Write the last records: sums, what was dropped, and the stop. Blocks for a moment."""
        self._lines.drop_others()
        self.audit.report_summed(0.0)
        self.audit.report_dropped(self._lines.take_dropped(), 0.0)
        self.audit.record(stop)
        self._lines.drain(LIMITS.audit_stop_seconds)
