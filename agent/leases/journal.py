"""The journal: leases and marks of accepted pushes that outlive the process (sqlite3, WAL, tmpfs).

What is written here before a push is acknowledged survives SIGKILL: it is in the kernel's page
cache, so nothing waits for a disk (synchronous=OFF). A reboot ends every lease anyway: those of
another boot are dropped. A damaged journal is set aside, never repaired and never used: each row
has a digest, since SQLite's own checks do not notice a changed byte inside a value.
"""

from __future__ import annotations

import errno
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Callable, Optional

from agent.config.limits import LIMITS
from agent.config.settings import Keys
from agent.leases import journal_before, journal_file, journal_place, journal_rows
from agent.leases.consumption import Consumption
from agent.leases.journal_file import Identity
from agent.leases.journal_rows import Layout, Numbered
from agent.leases.lease import AcceptedMark, Horizon, Lease, NotDurable

_LAYOUTS = (journal_rows.LAYOUT, journal_before.LAYOUT)
Report = Callable[[str], None]
_REMOVE = "DELETE FROM leases WHERE os_user = ? AND slot = ? AND request_id = ?"


class Damaged(Exception):
    """The journal is not as the daemon left it; the message says what was found."""


@dataclass(frozen=True)
class Found:
    """What a journal contained: leases, the horizon, and uses. Its marks are read later."""

    leases: list[Lease]
    horizon: Horizon
    consumed: tuple[Consumption, ...] = ()


class Journal:
    """One SQLite database; every method is one transaction, and raises NotDurable if it failed.

    It accepts leases while it is `sound`. After opening it is sound if it has this version's tables
    and is of this boot; otherwise, and after damage, `rewrite` makes it sound.
    """

    def __init__(self, path: str, boot_id: Optional[str] = None) -> None:
        self._path = path
        self._boot_id = boot_id or journal_file.this_boot()
        self._database: Optional[sqlite3.Connection] = None
        self._layout: Optional[Layout] = None
        self._files: dict[str, Identity] = {}
        self.sound = False

    @property
    def is_open(self) -> bool:
        """Whether a database is open."""
        return self._database is not None

    def open(self, settings: Keys, now: float, report: Report, unusable: Report) -> Optional[Found]:
        """Open the database, and read the leases that are good under today's settings.

        `now` is CLOCK_BOOTTIME, s. A damaged database is set aside and `report` is called; the
        result is empty. One on a read-only file system is read and closed, and `unusable` is
        called. None: it could not be read, and may be tried again.
        """
        self.close()
        try:
            return self._connect(settings, now)
        except Damaged as damage:
            return self.begin_anew(str(damage), settings, now, report, unusable)
        except (NotDurable, OSError) as error:
            self.close()
            unusable(f"{self._path}: {error}")
            read_only = isinstance(error, OSError) and error.errno == errno.EROFS
            return self._read_copy(settings, now, report) if read_only else None

    def begin_anew(
        self, damage: str, settings: Keys, now: float, report: Report, unusable: Report
    ) -> Optional[Found]:
        """Set a damaged journal aside, and begin a new one, which may lack accepted pushes."""
        self.close()
        try:
            aside = journal_file.set_aside(self._path)
            report(f"{self._path} is damaged ({damage}); it was set aside as {aside}")
            self._connect(settings, now)
        except (Damaged, NotDurable, OSError) as error:
            self.close()
            unusable(f"{self._path}: {error}")
            return None
        return Found([], Horizon(lost_at=now))

    def check_marks(self) -> None:
        """Raise Damaged if the table of marks is damaged; NotDurable if it cannot be read."""
        with self._reading() as (database, layout):
            if layout is not None:
                _check_table(database, layout.marked)

    def marks(self, after: int) -> Numbered:
        """The marks after a row number, each with its row number. Raises Damaged, NotDurable."""
        with self._reading() as (database, layout):
            return [] if layout is None else layout.marks(database, after)

    def rewrite(
        self,
        leases: Iterable[Lease],
        marks: Iterable[AcceptedMark],
        horizon: Horizon,
        consumed: Iterable[Consumption] = (),
    ) -> None:
        """Replace everything by this, in today's tables; then it is sound. Raises NotDurable."""
        with self._transaction() as database:
            journal_rows.make(database, self._boot_id)
            journal_rows.put_all(database, leases, marks)
            journal_rows.put_horizon(database, horizon)
            journal_rows.put_consumed(database, consumed)
        with suppress(sqlite3.Error):
            # The write-ahead log is as long as the whole database now; on tmpfs that is memory.
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._layout = journal_rows.LAYOUT
        self._files = journal_file.identities(self._path)
        self.sound = True

    def record(self, lease: Lease) -> None:
        """Make a lease, and the mark of its push, durable. Raises NotDurable."""
        self._check_sound()
        with self._transaction() as database:
            journal_rows.put(database, lease)
            if lease.mark is not None:
                sharer = lease.sharer or lease.principal
                mark = AcceptedMark(lease.mark, lease.request_id, sharer)
                journal_rows.put_mark(database, mark)

    def consume(self, lease: Lease, used: Consumption) -> None:
        """Use up a one-time lease; its row stays, to explain refusals. Raises NotDurable."""
        self._check_sound()
        with self._transaction() as database:
            journal_rows.put(database, replace(lease, uses=0))
            journal_rows.put_consumed(database, [used])

    def remove(self, leases: list[Lease]) -> None:
        """Delete leases before their end; their marks stay. Raises NotDurable."""
        self._check_sound()
        with self._transaction() as database:
            database.executemany(
                _REMOVE, [(lease.os_user, lease.slot, lease.request_id) for lease in leases]
            )

    def forget(self, boottime: float, wall: float, horizon: Horizon) -> None:
        """Delete what has ended: leases by boot time, marks by the wall clock (s).

        What is forgotten raises the horizon in the same transaction. Raises NotDurable.
        """
        self._check_sound()
        with self._transaction() as database:
            database.execute("DELETE FROM leases WHERE expires_at <= ?", (boottime,))
            told = boottime - LIMITS.history_seconds
            database.execute("DELETE FROM consumed WHERE expires_at <= ?", (told,))
            ended = (wall - LIMITS.clock_skew_seconds,)
            find = "SELECT max(dated) FROM marks WHERE dated < ?"
            (newest,) = database.execute(find, ended).fetchone()
            if newest is not None:
                horizon = horizon._replace(dated=max(horizon.dated, newest))
                database.execute("DELETE FROM marks WHERE dated < ?", ended)
            if horizon != journal_rows.read_horizon(database):
                journal_rows.put_horizon(database, horizon)

    def check_place(self) -> None:
        """Raise NotDurable if its files were removed, replaced, or made accessible to others.

        Then it is not sound: no later process would find what is written.
        """
        if not self.sound:
            return
        try:
            journal_file.check_owned(self._path)
        except OSError as error:
            self.sound = False
            raise NotDurable(f"{self._path}: {error}") from None
        if journal_file.identities(self._path) != self._files:
            self.sound = False
            raise NotDurable(f"{self._path} was removed or replaced")

    def close(self) -> None:
        """Close the file; everything recorded is in it."""
        self.sound = False
        if self._database is not None:
            self._database.close()
            self._database = None

    def _connect(self, settings: Keys, now: float) -> Found:
        """Raises OSError, NotDurable, Damaged."""
        journal_place.prepare(self._path)
        journal_file.make_owned(self._path)
        # One thread at a time uses it, but not always the same one.
        self._database = sqlite3.connect(
            self._path, timeout=1.0, isolation_level=None, check_same_thread=False
        )
        with self._sqlite_errors():
            # Invalid UTF-8 is damage like any other; the digest finds it.
            self._database.text_factory = lambda data: data.decode(errors="replace")
            # Exclusive: two daemons never share a journal, and no shared memory file is needed.
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = OFF")
            found = self._read(self._database, settings, now)
        self._files = journal_file.identities(self._path)
        return found

    def _read(self, database: sqlite3.Connection, settings: Keys, now: float) -> Found:
        """Read all but the marks. Raises sqlite3.DatabaseError: it is damaged.

        Nothing is written here: on a full disk, lookups still get the live keys.
        """
        version = database.execute("PRAGMA user_version").fetchone()[0]
        tables = database.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL ORDER BY name")
        found = [sql for (sql,) in tables]
        self._layout = None
        if version == 0 and not found:
            return Found([], Horizon(lost_at=now - LIMITS.restart_seconds))
        layout = next((each for each in _LAYOUTS if each.version == version), None)
        if layout is None:
            raise sqlite3.DatabaseError(f"it is of version {version}, not {_LAYOUTS[0].version}")
        if found != list(layout.tables):
            raise sqlite3.DatabaseError("its tables are not ours")
        _check_table(database, "leases")
        leases, horizon = layout.leases(database, settings), layout.horizon(database, now)
        this_boot = database.execute("SELECT id FROM boot").fetchall() == [(self._boot_id,)]
        self._layout = layout
        self.sound = this_boot and layout is _LAYOUTS[0]
        if this_boot:
            return Found(leases, horizon, tuple(layout.consumed(database)))
        # After a reboot marks may be missing: the page cache did not reach the disk.
        return Found([], horizon._replace(lost_at=0.0))

    def _read_copy(self, settings: Keys, now: float, report: Report) -> Optional[Found]:
        """Read a journal on a read-only file system, which SQLite cannot without writing to it."""
        try:
            with tempfile.TemporaryDirectory() as folder:
                copy = Journal(f"{folder}/leases.db", self._boot_id)
                journal_file.copy_owned(self._path, copy._path)
                found = copy.open(settings, now, report, report)
                copy.close()
                return found
        except OSError as error:
            report(f"{self._path} cannot be read: {error}")
            return None

    def _check_sound(self) -> None:
        if not self.sound:
            raise NotDurable(f"{self._path}: not open")

    @contextmanager
    def _reading(self) -> Iterator[tuple[sqlite3.Connection, Optional[Layout]]]:
        """The database and its tables, None in a new one. Raises Damaged, NotDurable."""
        if self._database is None:
            raise NotDurable(f"{self._path}: not open")
        with self._sqlite_errors():
            yield self._database, self._layout

    @contextmanager
    def _sqlite_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:  # It may be sound, but cannot be used now.
            raise NotDurable(str(error)) from error
        except (sqlite3.DatabaseError, UnicodeError) as error:
            raise Damaged(str(error)) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """BEGIN to COMMIT; any failure is rolled back and raised as NotDurable."""
        database = self._database
        if database is None:
            raise NotDurable(f"{self._path}: not open")
        try:
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")
        except (sqlite3.Error, MemoryError) as error:
            self.sound &= isinstance(error, (sqlite3.OperationalError, MemoryError))
            raise NotDurable(f"{self._path}: {error}") from error
        finally:
            # After a full disk or an I/O error SQLite has rolled back by itself.
            with suppress(sqlite3.Error):
                if database.in_transaction:
                    database.execute("ROLLBACK")


def _check_table(database: sqlite3.Connection, table: str) -> None:
    """Raise sqlite3.DatabaseError when a table's pages are damaged."""
    if database.execute(f"PRAGMA quick_check({table})").fetchone()[0] != "ok":
        raise sqlite3.DatabaseError(f"the check of its {table} failed")
