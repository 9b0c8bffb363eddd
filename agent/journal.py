"""The journal: leases and answered requests that outlive the process (sqlite3, WAL, on tmpfs).

What is written here before a push is acknowledged survives SIGKILL: it is in the kernel's page
cache, so nothing waits for a disk (synchronous=OFF). A reboot ends every lease anyway: those of
another boot are dropped. A damaged journal is set aside, never repaired, never believed.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from agent import config
from agent.keys import KeyRejected, PublicKey
from agent.leases import Lease, NotDurable, SignedRequest

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Raised by one with every change of the tables: another version is set aside like a damaged file.
VERSION = 1
Row = tuple[str, str, str, str, str, str, float, float]
_TABLES = """
CREATE TABLE IF NOT EXISTS boot (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS leases (
    os_user TEXT NOT NULL, type TEXT NOT NULL, base64 TEXT NOT NULL, request_id TEXT NOT NULL,
    principal TEXT NOT NULL, source TEXT NOT NULL, pushed_at REAL NOT NULL,
    expires_at REAL NOT NULL, PRIMARY KEY (os_user, base64)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answered (
    mark BLOB PRIMARY KEY, signed_at REAL NOT NULL, request_id TEXT NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Remembered:
    """What the last process left: live leases, and accepted requests with their request ids."""

    leases: list[Lease]
    answered: list[tuple[SignedRequest, str]]


class Journal:
    """One SQLite database; every method is one transaction, and raises NotDurable if it failed."""

    def __init__(self, path: str, boot_id: Optional[str] = None) -> None:
        self._path = path
        self._boot_id = boot_id or BOOT_ID.read_text().strip()
        self._database: Optional[sqlite3.Connection] = None
        # False when there is no database, or it was found damaged: it must be opened anew.
        self.sound = False

    def open(self, report: Callable[[str], None]) -> None:
        """Open or make the database; a damaged one is set aside first, and reported.

        Raises:
            NotDurable: there is no usable journal now. It may be tried again later.
        """
        try:
            self._connect()
        except (sqlite3.DatabaseError, UnicodeError) as error:
            self.close()
            if isinstance(error, sqlite3.OperationalError) or not os.path.exists(self._path):
                raise NotDurable(f"{self._path}: {error}") from error
            aside = self._set_aside()
            report(f"{self._path} is damaged ({error}); it was set aside as {aside}")
            try:
                self._connect()
            except sqlite3.Error as second:
                self.close()
                raise NotDurable(f"{self._path}: {second}") from second
        self.sound = True

    def record(self, lease: Lease) -> None:
        """Make a lease, and the request that it came from, durable. Raises NotDurable."""
        with self._transaction() as database:
            database.execute(
                "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                _row(lease),
            )
            if lease.signed is not None:
                database.execute(
                    "INSERT OR REPLACE INTO answered VALUES (?, ?, ?)",
                    (lease.signed.mark, lease.signed.signed_at, lease.request_id),
                )

    def remove(self, leases: list[Lease]) -> None:
        """Drop leases before their time; their requests stay remembered. Raises NotDurable."""
        with self._transaction() as database:
            database.executemany(
                "DELETE FROM leases WHERE os_user = ? AND base64 = ?",
                [(lease.os_user, lease.key.base64) for lease in leases],
            )

    def forget(self, boottime: float, wall: float) -> None:
        """Drop what has ended: leases by boot time, requests by the wall clock (s)."""
        with self._transaction() as database:
            database.execute("DELETE FROM leases WHERE expires_at <= ?", (boottime,))
            database.execute(
                "DELETE FROM answered WHERE signed_at < ?",
                (wall - config.LIMITS.clock_skew_seconds,),
            )

    def remembered(self, settings: config.Keys, boottime: float) -> Remembered:
        """What is still good under today's settings. Raises NotDurable."""
        with self._transaction() as database:
            leases = [
                lease
                for row in database.execute("SELECT * FROM leases ORDER BY pushed_at")
                for lease in _lease(row, settings)
                if boottime < lease.expires_at
            ]
            answered = [
                (SignedRequest(mark, signed_at), request_id)
                for mark, signed_at, request_id in database.execute("SELECT * FROM answered")
            ]
        return Remembered(leases, answered)

    def close(self) -> None:
        """Let go of the file; everything recorded is in it."""
        if self._database is not None:
            self._database.close()
            self._database = None
            self.sound = False

    def _connect(self) -> None:
        # Readable by nobody else from the first byte on: SQLite itself would make it 0644.
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        except OSError as error:
            raise sqlite3.OperationalError(error.strerror) from error
        # One thread at a time uses it, though not always the same one.
        database = sqlite3.connect(
            self._path, timeout=1.0, isolation_level=None, check_same_thread=False
        )
        self._database = database
        # Exclusive: two daemons never share a journal, and no shared memory file is needed.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = OFF")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, VERSION):
            raise sqlite3.DatabaseError(f"it is of version {version}, not {VERSION}")
        if database.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("its check failed")
        database.executescript(
            f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT"
        )
        with self._transaction():
            if database.execute("SELECT id FROM boot").fetchall() != [(self._boot_id,)]:
                database.execute("DELETE FROM leases")
                database.execute("DELETE FROM boot")
                database.execute("INSERT INTO boot VALUES (?)", (self._boot_id,))

    def _set_aside(self) -> str:
        aside = f"{self._path}.damaged"
        os.replace(self._path, aside)
        for suffix in ("-wal", "-shm"):
            Path(self._path + suffix).unlink(missing_ok=True)
        return aside

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """BEGIN to COMMIT; whatever fails is rolled back, and is NotDurable."""
        if self._database is None:
            raise NotDurable(f"{self._path}: not open")
        try:
            self._database.execute("BEGIN IMMEDIATE")
            yield self._database
            self._database.execute("COMMIT")
        except (sqlite3.Error, MemoryError) as error:
            self.sound = isinstance(error, (sqlite3.OperationalError, MemoryError))
            self._roll_back(self._database)
            raise NotDurable(f"{self._path}: {error}") from error

    @staticmethod
    def _roll_back(database: sqlite3.Connection) -> None:
        # After a full disk or an I/O error SQLite has rolled back by itself: nothing is half there.
        if database.in_transaction:
            with suppress(sqlite3.Error):
                database.execute("ROLLBACK")


def _row(lease: Lease) -> Row:
    return (
        lease.os_user,
        lease.key.type,
        lease.key.base64,
        lease.request_id,
        lease.principal,
        lease.source,
        lease.pushed_at,
        lease.expires_at,
    )


def _lease(row: Row, settings: config.Keys) -> list[Lease]:
    """The lease of a row; none where today's settings would not take the key."""
    os_user, type_, base64, request_id, principal, source, pushed_at, expires_at = row
    try:
        key = PublicKey.parse(
            f"{type_} {base64}", types=frozenset(settings.types), rsa_min_bits=settings.rsa_min_bits
        )
    except KeyRejected:
        return []
    end = min(expires_at, pushed_at + settings.lifetime)
    return [Lease(os_user, key, request_id, principal, source, pushed_at, end)]
