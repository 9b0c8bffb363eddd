"""The journal of 0.1.0: read once, on upgrade, and then rewritten in today's form.

Its marks have no principal, and it has no horizon: 0.1.0 remembered marks for 15 minutes, so
anything older may be forgotten.
"""

from __future__ import annotations

import sqlite3

from agent.config.limits import LIMITS
from agent.config.settings import Keys
from agent.leases.journal_rows import Layout, Numbered, lease_of, unseal
from agent.leases.lease import AcceptedMark, Horizon, Lease, ReplayMark

_TABLES = (
    "CREATE TABLE answered (mark BLOB NOT NULL, signed_at REAL NOT NULL, "
    "request_id TEXT NOT NULL, digest BLOB NOT NULL)",
    "CREATE TABLE boot (id TEXT NOT NULL)",
    "CREATE TABLE leases (os_user TEXT NOT NULL, type TEXT NOT NULL, base64 TEXT NOT NULL, "
    "request_id TEXT NOT NULL, principal TEXT NOT NULL, source TEXT NOT NULL, "
    "pushed_at REAL NOT NULL, expires_at REAL NOT NULL, digest BLOB NOT NULL, "
    "PRIMARY KEY (os_user, base64)) WITHOUT ROWID",
    "CREATE VIEW push AS SELECT leases.*, answered.mark, answered.signed_at, "
    "answered.digest AS seal FROM leases JOIN answered USING (request_id)",
    "CREATE TRIGGER pushed INSTEAD OF INSERT ON push BEGIN "
    "INSERT OR REPLACE INTO leases VALUES (NEW.os_user, NEW.type, NEW.base64, NEW.request_id, "
    "NEW.principal, NEW.source, NEW.pushed_at, NEW.expires_at, NEW.digest); "
    "INSERT INTO answered SELECT NEW.mark, NEW.signed_at, NEW.request_id, NEW.seal "
    "WHERE NEW.mark IS NOT NULL; END",
)


def _leases(database: sqlite3.Connection, settings: Keys) -> list[Lease]:
    rows = map(unseal, database.execute("SELECT * FROM leases ORDER BY pushed_at"))
    found = (lease_of(row, settings) for row in rows)
    return [lease for lease in found if lease is not None]


def _marks(database: sqlite3.Connection, after: int) -> Numbered:
    rows = database.execute(
        "SELECT rowid, * FROM answered WHERE rowid > ? ORDER BY rowid LIMIT ?",
        (after, LIMITS.marks_at_once),
    )
    marks: Numbered = []
    for number, *rest in rows:
        digest, dated, request_id = unseal(tuple(rest))
        marks.append((number, AcceptedMark(ReplayMark(digest, dated), request_id, "")))
    return marks


def _horizon(_: sqlite3.Connection, now: float) -> Horizon:
    return Horizon(lost_at=now - LIMITS.clock_skew_seconds)


LAYOUT = Layout(2, _TABLES, "answered", _leases, _marks, _horizon, lambda _: [])
