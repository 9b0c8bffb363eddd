"""What stands in the journal: its tables, and leases as rows that tell when they were changed."""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass
from typing import Any

from agent.config.settings import Keys
from agent.leases.keys import KeyRejected, PublicKey
from agent.leases.lease import Lease, ReplayMark

# Raised by one with every change of the tables: another version is set aside like a damaged file.
VERSION = 2
# As SQLite keeps them, by name: what is there must be this, letter by letter.
TABLES = (
    # Only ever added to at its end, and read whole: a key of its own would cost a page each time.
    "CREATE TABLE answered (mark BLOB NOT NULL, signed_at REAL NOT NULL, "
    "request_id TEXT NOT NULL, digest BLOB NOT NULL)",
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
    "INSERT INTO answered SELECT NEW.mark, NEW.signed_at, NEW.request_id, NEW.seal "
    "WHERE NEW.mark IS NOT NULL; END",
)
_PUT = "INSERT INTO push VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True)
class Remembered:
    """What the last process left: live leases, and accepted requests with their request ids.

    `incomplete`: it was set aside as damaged, so that requests were answered which are not here.
    """

    leases: list[Lease]
    answered: list[tuple[ReplayMark, str]]
    incomplete: bool = False


def put(database: sqlite3.Connection, lease: Lease) -> None:
    """Write a lease, and the request that it came from. Raises sqlite3.Error."""
    request: tuple[Any, ...] = (None, None, None)
    if lease.mark is not None:
        mark, signed_at = lease.mark
        request = (mark, signed_at, _sealed((mark, signed_at, lease.request_id))[-1])
    database.execute(_PUT, (*_sealed(_row(lease)), *request))


def read(database: sqlite3.Connection, settings: Keys) -> Remembered:
    """Everything that is good under `settings`. Raises sqlite3.DatabaseError for a changed row."""
    rows = map(_unsealed, database.execute("SELECT * FROM leases ORDER BY pushed_at"))
    leases = [lease for row in rows for lease in _lease(row, settings)]
    answered = map(_unsealed, database.execute("SELECT * FROM answered"))
    return Remembered(
        leases, [(ReplayMark(mark, signed_at), name) for mark, signed_at, name in answered]
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


def _lease(row: tuple[Any, ...], settings: Keys) -> list[Lease]:
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
