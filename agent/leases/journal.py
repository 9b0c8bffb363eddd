"""The journal: leases and answered requests that outlive the process (sqlite3, WAL, on tmpfs).

What is written here before a push is acknowledged survives SIGKILL: it is in the kernel's page
cache, so nothing waits for a disk (synchronous=OFF). A reboot ends every lease anyway: those of
another boot are dropped. A damaged journal is set aside, never repaired, never believed: each row
carries a digest, since SQLite's own checks do not see a byte that changed inside a value.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Callable, Optional

from agent.config.settings import LIMITS, Keys
from agent.leases import journal_place, journal_rows
from agent.leases.journal_rows import Remembered
from agent.leases.lease import Lease, NotDurable

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
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
        self, settings: Keys, report: Callable[[str], None], unusable: Callable[[str], None]
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
            return replace(self._connect(settings, unusable), incomplete=True)
        except (sqlite3.Error, OSError) as error:
            self.close()
            unusable(f"{self._path}: {error}")
            return _NOTHING

    def record(self, lease: Lease) -> None:
        """Make a lease, and the request that it came from, durable. Raises NotDurable."""
        with self._durable() as database:
            journal_rows.put(database, lease)

    def replace(self, leases: list[Lease]) -> None:
        """Hold these leases and no others; requests stay remembered. Raises NotDurable."""
        with self._transaction() as database:
            database.execute("DELETE FROM leases")
            for lease in leases:
                journal_rows.put(database, lease)

    def remove(self, leases: list[Lease]) -> None:
        """Drop leases before their time; their requests stay remembered. Raises NotDurable."""
        with self._transaction() as database:
            database.executemany(
                "DELETE FROM leases WHERE os_user = ? AND base64 = ? AND request_id = ?",
                [(lease.os_user, lease.key.base64, lease.request_id) for lease in leases],
            )

    def forget(self, boottime: float, wall: float) -> None:
        """Drop what has ended: leases by boot time, requests by the wall clock (s)."""
        with self._transaction() as database:
            database.execute("DELETE FROM leases WHERE expires_at <= ?", (boottime,))
            database.execute(
                "DELETE FROM answered WHERE signed_at < ?",
                (wall - LIMITS.clock_skew_seconds,),
            )

    def close(self) -> None:
        """Let go of the file; everything recorded is in it."""
        if self._database is not None:
            self._database.close()
            self._database = None
            self.sound = False

    def _connect(self, settings: Keys, unusable: Callable[[str], None]) -> Remembered:
        journal_place.prepare(self._path)
        _check_owned(self._path)
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

    def _read(self, database: sqlite3.Connection, settings: Keys) -> Remembered:
        """What the database holds. Raises sqlite3.DatabaseError when it is not as it was left."""
        version = database.execute("PRAGMA user_version").fetchone()[0]
        tables = database.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL ORDER BY name")
        found = [sql for (sql,) in tables]
        if version == 0 and not found:
            return _NOTHING
        if version != journal_rows.VERSION:
            raise sqlite3.DatabaseError(f"it is of version {version}, not {journal_rows.VERSION}")
        if found != list(journal_rows.TABLES):
            raise sqlite3.DatabaseError("its tables are not ours")
        if database.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("its check failed")
        remembered = journal_rows.read(database, settings)
        if database.execute("SELECT id FROM boot").fetchall() != [(self._boot_id,)]:
            return Remembered([], remembered.answered)
        return remembered

    def _make_tables(self, database: sqlite3.Connection) -> None:
        """Make what is missing, and drop the leases of another boot."""
        database.execute("BEGIN IMMEDIATE")
        if not database.execute("SELECT 1 FROM sqlite_master").fetchall():
            for table in journal_rows.TABLES:
                database.execute(table)
            database.execute(f"PRAGMA user_version = {journal_rows.VERSION}")
        if database.execute("SELECT id FROM boot").fetchall() != [(self._boot_id,)]:
            database.execute("DELETE FROM leases")
            database.execute("DELETE FROM boot")
            database.execute("INSERT INTO boot VALUES (?)", (self._boot_id,))
        database.execute("COMMIT")

    def _read_copy(self, settings: Keys, report: Callable[[str], None]) -> Remembered:
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


def is_in_memory(path: str) -> bool:
    """Whether a journal there is on tmpfs, which no disk can make wait (proc(5), mountinfo)."""
    try:
        device = os.stat(os.path.dirname(path)).st_dev
        mounts = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    kinds = {m.split(" - ")[1].split()[0] for m in mounts if m.split()[2] == number}
    return kinds == {"tmpfs"}


def _check_owned(path: str) -> None:
    """Make the file if it is not there; raise OSError if anybody else could have written it.

    Whoever can write the journal decides who may log in, so what others left there is not read.
    """
    # Readable by nobody else from the first byte on: SQLite itself would make it 0644.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    ours = found.st_uid == os.geteuid() and found.st_nlink == 1 and not found.st_mode & 0o022
    if not (ours and stat.S_ISREG(found.st_mode)):
        raise PermissionError(errno.EPERM, "is not a file that this daemon alone can write")
