"""One journal file that a test opens repeatedly, as the store does, but without a store."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Optional

from agent.config import settings as config
from agent.leases.journal import Damaged, Found, Journal
from agent.leases.lease import AcceptedMark, Horizon

KEYS = config.Keys()
BOOT = "6b8a1f6e-0000-4000-8000-000000000001"
NOW = 1000.0
"""CLOCK_BOOTTIME, s, whenever a journal is opened here."""


class Disk:
    """The file, what was last read from it, and the messages about it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "leases.db"
        self.reports: list[str] = []
        self.unusable: list[str] = []
        self.found: Optional[Found] = None
        self.marks: list[AcceptedMark] = []
        self._open: list[Journal] = []

    def begin(self, boot: str = BOOT, keys: config.Keys = KEYS) -> Journal:
        """A journal on the file, with only the leases read."""
        self.close()
        journal = Journal(str(self.path), boot)
        self._open.append(journal)
        self.found = journal.open(keys, NOW, self.reports.append, self.unusable.append)
        return journal

    def open(self, boot: str = BOOT, keys: config.Keys = KEYS) -> Journal:
        """A journal on the file as at the daemon's start: read whole, and sound."""
        journal = self.begin(boot, keys)
        self.marks = []
        if not journal.is_open:
            return journal
        try:
            self._read_marks(journal)
        except Damaged as damage:
            self.found = journal.begin_anew(
                str(damage), keys, NOW, self.reports.append, self.unusable.append
            )
        if not journal.sound:
            assert self.found is not None
            journal.rewrite(self.found.leases, self.marks, self.found.horizon)
        return journal

    def _read_marks(self, journal: Journal) -> None:
        journal.check_marks()
        after = 0
        while marks := journal.marks(after):
            self.marks += [mark for _, mark in marks]
            after = marks[-1][0]

    def reopen(self, boot: str = BOOT, keys: config.Keys = KEYS) -> Found:
        """What a daemon that starts now would read."""
        self.open(boot, keys)
        assert self.found is not None
        return self.found

    @property
    def horizon(self) -> Horizon:
        """The horizon that was last read."""
        assert self.found is not None
        return self.found.horizon

    def change(self, statement: str, *values: object) -> None:
        """Change the closed file without the daemon."""
        self.close()
        with sqlite3.connect(self.path) as database:
            database.execute(statement, values)
        database.close()

    def close(self) -> None:
        """Close the open journal; its WAL is written back."""
        while self._open:
            self._open.pop().close()
