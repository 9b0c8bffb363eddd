"""The journal: leases and answered requests that outlive the process (sqlite3, WAL, on tmpfs).

What is written here before a push is acknowledged survives SIGKILL: it is in the kernel's page
cache, so nothing waits for a disk (synchronous=OFF). A reboot ends every lease anyway: those of
another boot are dropped. A damaged journal is set aside, never repaired, never believed: each row
carries a digest, since SQLite's own checks do not see a byte that changed inside a value.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

from agent import config
from agent.keys import KeyRejected, PublicKey
from agent.leases import Lease, NotDurable, SignedRequest

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Raised by one with every change of the tables: another version is set aside like a damaged file.
VERSION = 1
# As SQLite keeps them, by name: what is there must be this, letter by letter.
_TABLES = (
    "CREATE TABLE answered (mark BLOB PRIMARY KEY, signed_at REAL NOT NULL, "
    "request_id TEXT NOT NULL, digest BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE boot (id TEXT NOT NULL)",
    "CREATE TABLE leases (os_user TEXT NOT NULL, type TEXT NOT NULL, base64 TEXT NOT NULL, "
    "request_id TEXT NOT NULL, principal TEXT NOT NULL, source TEXT NOT NULL, "
    "pushed_at REAL NOT NULL, expires_at REAL NOT NULL, digest BLOB NOT NULL, "
    "PRIMARY KEY (os_user, base64)) WITHOUT ROWID",
    # A push is one statement: each lets go of the interpreter, and has to wait for it afterwards.
    "CREATE VIEW push AS SELECT leases.*, answered.mark, answered.signed_at, "
    "answered.digest AS seal FROM leases JOIN answered USING (request_id)",
    "CREATE TRIGGER pushed INSTEAD OF INSERT ON push BEGIN "
    "INSERT OR REPLACE INTO leases VALUES (NEW.os_user, NEW.type, NEW.base64, NEW.request_id, "
    "NEW.principal, NEW.source, NEW.pushed_at, NEW.expires_at, NEW.digest); "
    "INSERT OR REPLACE INTO answered SELECT NEW.mark, NEW.signed_at, NEW.request_id, NEW.seal "
    "WHERE NEW.mark IS NOT NULL; END",
)
_PUT = "INSERT INTO push VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True)
class Remembered:
    """What the last process left: live leases, and accepted requests with their request ids."""

    leases: list[Lease]
    answered: list[tuple[SignedRequest, str]]


_NOTHING = Remembered([], [])


class Journal:
    """One SQLite database; every method is one transaction, and raises NotDurable if it failed."""

    def __init__(self, path: str, boot_id: Optional[str] = None) -> None:
        self._path = path
        self._boot_id = boot_id or BOOT_ID.read_text().strip()
        self._database: Optional[sqlite3.Connection] = None
        # False when there is no database, or it was found damaged: it must be opened anew.
        self.sound = False

    def open(
        self, settings: config.Keys, report: Callable[[str], None], unusable: Callable[[str], None]
    ) -> Remembered:
        """Open or make the database, and read what is still good under today's settings.

        A damaged one is set aside, and `report` is told; then nothing is remembered. One that can
        only be read (no room, read-only) is read and let go, and `unusable` is told: it is not
        `sound` then, and may be tried again later.
        """
        try:
            return self._connect(settings, unusable)
        except (sqlite3.DatabaseError, UnicodeError, OSError) as error:
            self.close()
            if isinstance(error, (sqlite3.OperationalError, OSError)):
                # It may be sound, but cannot be used now.
                unusable(f"{self._path}: {error}")
                read_only = isinstance(error, OSError) and error.errno == errno.EROFS
                return self._read_copy(settings, report) if read_only else _NOTHING
            reason = str(error)
        try:
            report(f"{self._path} is damaged ({reason}); it was set aside as {self._set_aside()}")
            return self._connect(settings, unusable)
        except (sqlite3.Error, OSError) as error:
            self.close()
            unusable(f"{self._path}: {error}")
            return _NOTHING

    def record(self, lease: Lease) -> None:
        """Make a lease, and the request that it came from, durable. Raises NotDurable."""
        with self._durable() as database:
            _put(database, lease)

    def replace(self, leases: list[Lease]) -> None:
        """Hold these leases and no others; requests stay remembered. Raises NotDurable."""
        with self._transaction() as database:
            database.execute("DELETE FROM leases")
            for lease in leases:
                _put(database, lease)

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

    def close(self) -> None:
        """Let go of the file; everything recorded is in it."""
        if self._database is not None:
            self._database.close()
            self._database = None
            self.sound = False

    def _connect(self, settings: config.Keys, unusable: Callable[[str], None]) -> Remembered:
        # Readable by nobody else from the first byte on: SQLite itself would make it 0644.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        # One thread at a time uses it, though not always the same one.
        database = sqlite3.connect(
            self._path, timeout=1.0, isolation_level=None, check_same_thread=False
        )
        self._database = database
        # Bytes that are no UTF-8 are damage like any other, and for the digest to find.
        database.text_factory = lambda data: data.decode(errors="replace")
        # Exclusive: two daemons never share a journal, and no shared memory file is needed.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = OFF")
        # Read before anything is written: a full disk must not keep live keys from lookups.
        remembered = self._read(database, settings)
        try:
            self._make_tables(database)
        except sqlite3.OperationalError as error:
            self.close()
            unusable(f"{self._path}: {error}")
        else:
            self.sound = True
        return remembered

    def _read(self, database: sqlite3.Connection, settings: config.Keys) -> Remembered:
        """What the database holds. Raises sqlite3.DatabaseError when it is not as it was left."""
        version = database.execute("PRAGMA user_version").fetchone()[0]
        tables = database.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL ORDER BY name")
        found = [sql for (sql,) in tables]
        if version == 0 and not found:
            return _NOTHING
        if version != VERSION:
            raise sqlite3.DatabaseError(f"it is of version {version}, not {VERSION}")
        if found != list(_TABLES):
            raise sqlite3.DatabaseError("its tables are not ours")
        if database.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("its check failed")
        remembered = _read(database, settings)
        if database.execute("SELECT id FROM boot").fetchall() != [(self._boot_id,)]:
            return Remembered([], remembered.answered)
        return remembered

    def _make_tables(self, database: sqlite3.Connection) -> None:
        """Make what is missing, and drop the leases of another boot."""
        database.execute("BEGIN IMMEDIATE")
        if not database.execute("SELECT 1 FROM sqlite_master").fetchall():
            for table in _TABLES:
                database.execute(table)
            database.execute(f"PRAGMA user_version = {VERSION}")
        if database.execute("SELECT id FROM boot").fetchall() != [(self._boot_id,)]:
            database.execute("DELETE FROM leases")
            database.execute("DELETE FROM boot")
            database.execute("INSERT INTO boot VALUES (?)", (self._boot_id,))
        database.execute("COMMIT")

    def _read_copy(self, settings: config.Keys, report: Callable[[str], None]) -> Remembered:
        """Read a journal on a read-only file system, which SQLite cannot without writing to it."""
        # Late: hardly ever needed, and a second to nobody.
        import shutil
        import tempfile

        try:
            with tempfile.TemporaryDirectory() as folder:
                copy = Journal(f"{folder}/leases.db", self._boot_id)
                for suffix in ("", "-wal"):
                    if os.path.exists(self._path + suffix):
                        shutil.copyfile(self._path + suffix, copy._path + suffix)
                remembered = copy.open(settings, report, report)
                copy.close()
                return remembered
        except OSError as error:
            report(f"{self._path} cannot be read: {error}")
            return _NOTHING

    def _set_aside(self) -> str:
        aside = f"{self._path}.damaged"
        os.replace(self._path, aside)
        for suffix in ("-wal", "-shm"):
            Path(self._path + suffix).unlink(missing_ok=True)
        return aside

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """BEGIN to COMMIT; whatever fails is rolled back, and is NotDurable."""
        with self._durable() as database:
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")

    @contextmanager
    def _durable(self) -> Iterator[sqlite3.Connection]:
        """Whatever fails in one statement, or in one transaction, is undone, and is NotDurable."""
        if self._database is None:
            raise NotDurable(f"{self._path}: not open")
        try:
            yield self._database
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


def _put(database: sqlite3.Connection, lease: Lease) -> None:
    request: tuple[Any, ...] = (None, None, None)
    if lease.signed is not None:
        mark, signed_at = lease.signed.mark, lease.signed.signed_at
        request = (mark, signed_at, _sealed((mark, signed_at, lease.request_id))[-1])
    database.execute(_PUT, (*_sealed(_row(lease)), *request))


def _read(database: sqlite3.Connection, settings: config.Keys) -> Remembered:
    rows = map(_unsealed, database.execute("SELECT * FROM leases ORDER BY pushed_at"))
    leases = [lease for row in rows for lease in _lease(row, settings)]
    answered = map(_unsealed, database.execute("SELECT * FROM answered"))
    return Remembered(
        leases, [(SignedRequest(mark, signed_at), name) for mark, signed_at, name in answered]
    )


def _sealed(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The row and its digest."""
    return (*row, hashlib.sha256(repr(row).encode()).digest())


def _unsealed(sealed: tuple[Any, ...]) -> tuple[Any, ...]:
    """The row without its digest. Raises sqlite3.DatabaseError when it is not what was written."""
    row = sealed[:-1]
    if _sealed(row) != sealed:
        raise sqlite3.DatabaseError("a row is not what was written")
    return row


def _row(lease: Lease) -> tuple[Any, ...]:
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


def _lease(row: tuple[Any, ...], settings: config.Keys) -> list[Lease]:
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
