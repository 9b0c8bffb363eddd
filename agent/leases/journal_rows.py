"""The journal's tables and rows; a digest in each row shows when it was changed."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Callable, Optional

from agent.config.limits import LIMITS
from agent.config.settings import Keys
from agent.leases.consumption import Consumption
from agent.leases.keys import KeyRejected, PublicKey
from agent.leases.lease import AcceptedMark, Horizon, Lease, ReplayMark

Row = tuple[Any, ...]
Numbered = list[tuple[int, AcceptedMark]]


@dataclass(frozen=True)
class Layout:
    """One version of the tables, and how to read them; each reader raises sqlite3.DatabaseError.

    `marks` reads those after a row number, LIMITS.marks_at_once at a time; `horizon` takes the time
    (CLOCK_BOOTTIME, s).
    """

    version: int
    # The statements as SQLite stores them, by name; what is found must be identical.
    tables: tuple[str, ...]
    # The table whose rows are marks.
    marked: str
    leases: Callable[[sqlite3.Connection, Keys], list[Lease]]
    marks: Callable[[sqlite3.Connection, int], Numbered]
    horizon: Callable[[sqlite3.Connection, float], Horizon]
    consumed: Callable[[sqlite3.Connection], list[Consumption]]


_TABLES = (
    "CREATE TABLE boot (id TEXT NOT NULL)",
    "CREATE TABLE consumed (request_id TEXT PRIMARY KEY, process TEXT NOT NULL, "
    "source TEXT NOT NULL, at REAL NOT NULL, expires_at REAL NOT NULL, digest BLOB NOT NULL) "
    "WITHOUT ROWID",
    "CREATE TABLE horizon (dated REAL, lost_at REAL, digest BLOB NOT NULL)",
    "CREATE TABLE leases (os_user TEXT NOT NULL, slot BLOB NOT NULL, type TEXT NOT NULL, "
    "base64 TEXT NOT NULL, request_id TEXT NOT NULL, principal TEXT NOT NULL, "
    "source TEXT NOT NULL, pushed_at REAL NOT NULL, expires_at REAL NOT NULL, uses INTEGER, "
    "options TEXT NOT NULL, pinned_source TEXT, digest BLOB NOT NULL, "
    "PRIMARY KEY (os_user, slot)) WITHOUT ROWID",
    # Append-only, read whole: an index would dirty one more page per push.
    "CREATE TABLE marks (mark BLOB NOT NULL, dated REAL NOT NULL, request_id TEXT NOT NULL, "
    "principal TEXT NOT NULL, digest BLOB NOT NULL)",
)
_LEASES = "SELECT * FROM leases ORDER BY pushed_at"
_PUT = "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_CONSUMED = "INSERT OR REPLACE INTO consumed VALUES (?, ?, ?, ?, ?, ?)"
_PUT_MARK = "INSERT INTO marks VALUES (?, ?, ?, ?, ?)"


def make(database: sqlite3.Connection, boot_id: str) -> None:
    """Replace all tables by empty ones of this version. Raises sqlite3.Error."""
    found = "SELECT type, name FROM sqlite_master WHERE sql NOT NULL"
    for kind, name in database.execute(found).fetchall():
        # Dropping a view drops its triggers.
        database.execute(f'DROP {kind} IF EXISTS "{name}"')
    for table in LAYOUT.tables:
        database.execute(table)
    database.execute(f"PRAGMA user_version = {LAYOUT.version}")
    database.execute("INSERT INTO boot VALUES (?)", (boot_id,))
    put_horizon(database, Horizon())


def put(database: sqlite3.Connection, lease: Lease) -> None:
    """Write a lease, without its mark. Raises sqlite3.Error."""
    database.execute(_PUT, _lease_row(lease))


def put_consumed(database: sqlite3.Connection, consumed: Iterable[Consumption]) -> None:
    """Write uses of one-time keys. Raises sqlite3.Error."""
    database.executemany(_PUT_CONSUMED, (seal(tuple(each)) for each in consumed))


def put_mark(database: sqlite3.Connection, mark: AcceptedMark) -> None:
    """Write the mark of an accepted push. Raises sqlite3.Error."""
    database.execute(_PUT_MARK, _mark_row(mark))


def put_all(
    database: sqlite3.Connection, leases: Iterable[Lease], marks: Iterable[AcceptedMark]
) -> None:
    """Write leases and marks. Raises sqlite3.Error."""
    database.executemany(_PUT, map(_lease_row, leases))
    database.executemany(_PUT_MARK, map(_mark_row, marks))


def put_horizon(database: sqlite3.Connection, horizon: Horizon) -> None:
    """Store the horizon. Raises sqlite3.Error."""
    database.execute("DELETE FROM horizon")
    database.execute("INSERT INTO horizon VALUES (?, ?, ?)", seal(tuple(horizon)))


def read_horizon(database: sqlite3.Connection) -> Horizon:
    """Read the horizon. Raises sqlite3.DatabaseError unless it is one unchanged row."""
    rows = database.execute("SELECT * FROM horizon").fetchall()
    if len(rows) != 1:
        raise sqlite3.DatabaseError("it has no horizon")
    return Horizon(*unseal(rows[0]))


def read_leases(database: sqlite3.Connection, settings: Keys) -> list[Lease]:
    """The leases that `settings` allow. Raises sqlite3.DatabaseError for a changed row."""
    rows = (unseal(row) for row in database.execute(_LEASES))
    found = (
        lease_of((os_user, *row[:7]), settings, *_conditions(*row[7:])) for os_user, _, *row in rows
    )
    return [lease for lease in found if lease is not None]


def read_consumed(database: sqlite3.Connection) -> list[Consumption]:
    """The uses of one-time keys. Raises sqlite3.DatabaseError for a changed row."""
    rows = database.execute("SELECT * FROM consumed").fetchall()
    return [Consumption(*unseal(row)) for row in rows]


def read_marks(database: sqlite3.Connection, after: int) -> Numbered:
    """The next marks, each with its row number. Raises sqlite3.DatabaseError."""
    rows = database.execute(
        "SELECT rowid, * FROM marks WHERE rowid > ? ORDER BY rowid LIMIT ?",
        (after, LIMITS.marks_at_once),
    )
    marks: Numbered = []
    for number, *rest in rows:
        digest, dated, request_id, principal = unseal(tuple(rest))
        marks.append((number, AcceptedMark(ReplayMark(digest, dated), request_id, principal)))
    return marks


def seal(row: Row) -> Row:
    """The row and its digest."""
    return (*row, hashlib.sha256(repr(row).encode()).digest())


def unseal(row: Row) -> Row:
    """The row without its digest. Raises sqlite3.DatabaseError if it was changed."""
    if seal(row[:-1]) != row:
        raise sqlite3.DatabaseError("a row is not what was written")
    return row[:-1]


def lease_of(
    row: Row,
    settings: Keys,
    uses: Optional[int] = None,
    options: tuple[str, ...] = (),
    pinned_source: Optional[str] = None,
) -> Optional[Lease]:
    """The lease of a row; None if today's settings refuse the key.

    Raises:
        sqlite3.DatabaseError: its conditions are malformed.
    """
    os_user, type_, base64, request_id, principal, source, pushed_at, expires_at = row
    try:
        key = PublicKey.parse(f"{type_} {base64}", settings)
    except KeyRejected:
        return None
    end = min(expires_at, pushed_at + settings.lifetime)
    try:
        return Lease(
            os_user, key, request_id, principal, source, pushed_at, end,
            None, uses, options, pinned_source,
        )  # fmt: skip
    except ValueError as error:
        raise sqlite3.DatabaseError(str(error)) from None


def _lease_row(lease: Lease) -> Row:
    return seal((
        lease.os_user, lease.slot, lease.key.type, lease.key.base64, lease.request_id,
        lease.principal, lease.source, lease.pushed_at, lease.expires_at,
        lease.uses, ",".join(lease.options), lease.pinned_source,
    ))  # fmt: skip


def _mark_row(mark: AcceptedMark) -> Row:
    return seal((*mark.mark, mark.request_id, mark.principal))


def _conditions(
    uses: Optional[int], options: str, pinned_source: Optional[str]
) -> tuple[Optional[int], tuple[str, ...], Optional[str]]:
    return uses, tuple(options.split(",")) if options else (), pinned_source


LAYOUT = Layout(
    # Increased with every change of the tables: the previous version is read, others are set aside.
    3, _TABLES, "marks", read_leases, read_marks, lambda database, _: read_horizon(database),
    read_consumed,
)  # fmt: skip
