"""The hosts that have joined, each with its token, in an SQLite file at the joining gateway.

The gateway and the operator's command both write it, so each change is one transaction.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Optional

from agent.config import patterns
from agent.config.fleet_limits import FLEET
from agent.fleet.bus.servers import host_name
from agent.fleet.home.enrolment import NEW_KEYS, Joined
from agent.fleet.messages.certificates import HostCertificate, user_nkey
from agent.fleet.messages.documents import Rejected
from agent.fleet.messages.fields import Fields, printable

# A removed host's row stays until another joins with its id: the old certificate may come back.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS hosts (
    instance TEXT PRIMARY KEY, name TEXT NOT NULL, key TEXT NOT NULL, nkey TEXT NOT NULL,
    tags TEXT NOT NULL, token TEXT NOT NULL, issued_at INTEGER NOT NULL, ends_at INTEGER NOT NULL,
    gone_at REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS hosts_nkey ON hosts (nkey);
CREATE TABLE IF NOT EXISTS former (
    nkey TEXT PRIMARY KEY, instance TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uses (token TEXT PRIMARY KEY, uses INTEGER NOT NULL) WITHOUT ROWID;
"""
# The file's owner; and how long one process waits for the other's transaction, in seconds.
USER, _PATIENCE = "sixtykey-gateway", 5.0


@dataclass(frozen=True)
class Known:
    """A host in the registry; `gone_at` is when it was removed or left (s), None for a member."""

    certificate: HostCertificate
    gone_at: Optional[float]


@dataclass(frozen=True)
class Listed:
    """A row's instance id and name, to be shown, and its nkey, which is not checked."""

    host: str
    name: str
    nkey: Any


class SqliteRegistry:
    """The registry in a file. Raises sqlite3.Error when the file cannot be used."""

    def __init__(self, path: str) -> None:
        self._path = path
        with self._transaction() as database:
            database.executescript(_SCHEMA)

    @classmethod
    def create(cls, path: str) -> None:
        """Make the file, owned by the gateway's user if that exists. Raises OSError."""
        folder = os.path.dirname(path)
        os.makedirs(folder, mode=0o750, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            if os.geteuid() == 0:
                with contextlib.suppress(KeyError):
                    entry = pwd.getpwnam(USER)
                    os.fchown(descriptor, entry.pw_uid, entry.pw_gid)
                    os.chown(folder, entry.pw_uid, entry.pw_gid)
        finally:
            os.close(descriptor)
        with cls.for_operator(path):
            pass

    @classmethod
    @contextlib.contextmanager
    def for_operator(cls, path: str) -> Iterator[SqliteRegistry]:
        """The registry for a command that root runs: used as the folder's owner, the gateway.

        SQLite follows links, and uses any journal next to the file. A gateway that has
        been taken over could have root create or delete files elsewhere.
        """
        with _as_owner_of(os.path.dirname(path) or "."):
            yield cls(path)

    def join(self, host: Joined, uses: int) -> None:
        """Add the host. One that asks again, with the same keys and token, does not count again.

        Raises Rejected, also for keys that were in use: revocations are by nkey, and one for who
        left, which may be under way, must not end another membership.
        """
        made, token = host.certificate, host.token.hex()
        with self._transaction() as database:
            _check_fresh(database, made)
            row = database.execute("SELECT * FROM hosts WHERE instance = ?", [made.host]).fetchone()
            if row is None or row["gone_at"] is not None:
                _use(database, token, uses)
                if row is not None and row["nkey"] != made.nkey:
                    # Who has left keeps a certificate: its keys must stay known to be revoked.
                    database.execute(
                        "INSERT OR IGNORE INTO former VALUES (?, ?)", [row["nkey"], made.host]
                    )
            elif (row["key"], row["nkey"], row["token"]) != (str(made.key), made.nkey, token):
                raise Rejected(
                    f"{made.host} has joined already, with other keys: if that host no longer "
                    "exists, "
                    f"run at the fleet's home: sixtykey fleet remove {made.host}"
                )
            _insert(database, made, token)

    def renew(self, certificate: HostCertificate) -> None:
        """Store a host's new certificate. Raises Rejected: the host was removed, or has left."""
        with self._transaction() as database:
            self._member(database, certificate)
            database.execute(
                "UPDATE hosts SET issued_at = ?, ends_at = ? WHERE instance = ?",
                [certificate.issued_at, certificate.ends_at, certificate.host],
            )

    def leave(self, certificate: HostCertificate, now: float) -> None:
        """Record that the host has left. Raises Rejected."""
        with self._transaction() as database:
            self._member(database, certificate)
            _go(database, certificate.host, now)

    def remove(self, host: str, now: float) -> list[Listed]:
        """Remove the host with this id, or else the hosts with this name. Raises Rejected: none.

        Rows are taken as they are, for a damaged or forged one must not keep others from removal.
        """
        with self._transaction() as database:
            # A host chooses its name, which could be the id of another.
            for column in ("instance", "name"):
                rows = database.execute(
                    f"SELECT * FROM hosts WHERE {column} = ?",  # noqa: S608 - two constants
                    [host],
                ).fetchall()
                if rows:
                    break
            else:
                raise Rejected(f"no host has joined as {host}")
            for row in rows:
                _go(database, row["instance"], now)
        return [_list(row) for row in rows]

    def former(self, instances: Iterable[str]) -> dict[Any, str]:
        """The nkeys of others that were these instances before, and left or were removed.

        Each with its instance. They are not checked, and some of too many are left out: whoever
        forges them must not stop a removal.
        """
        found = "SELECT nkey FROM former WHERE instance = ? LIMIT ?"
        with self._transaction() as database:
            rows = [(each, database.execute(found, [each, FLEET.former])) for each in instances]
            return {row["nkey"]: each for each, some in rows for row in some}

    def all_former(self) -> dict[Any, str]:
        """The same of all hosts that another one has replaced, and that were not revoked since."""
        with self._transaction() as database:
            rows = database.execute("SELECT nkey, instance FROM former").fetchall()
        return {row["nkey"]: printable(str(row["instance"])) for row in rows}

    def forget_former(self, nkeys: Iterable[Any]) -> None:
        """Forget these nkeys: they have been revoked, or cannot be."""
        with self._transaction() as database:
            database.executemany("DELETE FROM former WHERE nkey = ?", [[each] for each in nkeys])

    def hosts(self) -> list[Known]:
        """All hosts, in order of instance id, but for unreadable rows."""
        return self.read()[0]

    def read(self) -> tuple[list[Known], Mapping[str, str]]:
        """All hosts, in order of instance id; and why a row is not readable, by instance id."""
        with self._transaction() as database:
            rows = database.execute("SELECT * FROM hosts ORDER BY instance").fetchall()
        hosts, unreadable = [], {}
        for row in rows:
            try:
                hosts.append(_parse_row(row))
            except Rejected as error:
                unreadable[printable(str(row["instance"]))] = str(error)
        return hosts, unreadable

    @staticmethod
    def _member(database: sqlite3.Connection, certificate: HostCertificate) -> None:
        row = database.execute(
            "SELECT * FROM hosts WHERE instance = ?", [certificate.host]
        ).fetchone()
        if row is None or row["gone_at"] is not None or row["nkey"] != certificate.nkey:
            raise Rejected(f"{certificate.host} has left the fleet or was removed: join again")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction on a new connection, since threads and processes run concurrently."""
        database = sqlite3.connect(self._path, timeout=_PATIENCE, isolation_level=None)
        try:
            database.row_factory = sqlite3.Row
            # Text that is not UTF-8 would end the whole query; so only its row is not readable.
            database.text_factory = lambda raw: raw.decode("utf-8", "replace")
            database.execute("PRAGMA synchronous = FULL")
            database.execute("BEGIN IMMEDIATE")
            yield database
            if database.in_transaction:
                database.execute("COMMIT")
        finally:
            database.close()


@contextlib.contextmanager
def _as_owner_of(folder: str) -> Iterator[None]:
    """Root acts as the folder's owner for a while; anybody else as before."""
    owner = os.stat(folder)
    if os.geteuid() != 0 or owner.st_uid == 0:
        yield
        return
    group, others = os.getegid(), os.getgroups()
    os.setgroups([])
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(others)


def _check_fresh(database: sqlite3.Connection, made: HostCertificate) -> None:
    """Raise Rejected: the nkey is that of a host that left or was removed, or of another host."""
    used = database.execute(
        "SELECT instance FROM hosts WHERE nkey = ? AND (instance != ? OR gone_at IS NOT NULL)"
        " UNION ALL SELECT instance FROM former WHERE nkey = ?",
        [made.nkey, made.host, made.nkey],
    ).fetchone()
    if used is not None:
        raise Rejected(NEW_KEYS.format(used["instance"]))


def _use(database: sqlite3.Connection, token: str, uses: int) -> None:
    used = database.execute("SELECT uses FROM uses WHERE token = ?", [token]).fetchone()
    if used is not None and used["uses"] >= uses:
        raise Rejected(f"the token has no uses left: it was used {uses} times")
    database.execute(
        "INSERT INTO uses VALUES (?, 1) ON CONFLICT (token) DO UPDATE SET uses = uses + 1",
        [token],
    )


def _insert(database: sqlite3.Connection, made: HostCertificate, token: str) -> None:
    values: list[Any] = [
        made.host, made.name, str(made.key), made.nkey, json.dumps(dict(made.tags)), token,
        made.issued_at, made.ends_at,
    ]  # fmt: skip
    database.execute("REPLACE INTO hosts VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)", values)


def _go(database: sqlite3.Connection, instance: str, now: float) -> None:
    database.execute(
        "UPDATE hosts SET gone_at = ? WHERE instance = ? AND gone_at IS NULL", [now, instance]
    )


def _list(row: sqlite3.Row) -> Listed:
    return Listed(printable(str(row["instance"])), printable(str(row["name"])), row["nkey"])


def _parse_row(row: sqlite3.Row) -> Known:
    """Parse a row, which the gateway's user may have written. Raises Rejected."""
    content = dict(row)
    what = f"the registry's row of {printable(str(content.get('instance')))}"
    try:
        content["tags"] = json.loads(content.get("tags", ""))
    except (TypeError, ValueError, RecursionError):
        raise Rejected(f"{what}: its tags are not JSON") from None
    fields = Fields(content, what)
    certificate = HostCertificate(
        fields.text("instance", patterns.instance_id),
        fields.text("name", host_name),
        fields.key("key"),
        fields.text("nkey", user_nkey),
        fields.tags("tags"),
        fields.time("issued_at"),
        fields.time("ends_at"),
    )
    gone_at = content.get("gone_at")
    if not isinstance(gone_at, (int, float, type(None))):
        raise Rejected(f"{what}.gone_at is not a time")
    return Known(certificate, gone_at)
