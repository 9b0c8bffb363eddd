"""The operator's actions, on the local push socket only.

    Sixtykey.Identity  which instance this host is   Sixtykey.Why     a user's recent decisions
    Sixtykey.List      the live leases               Sixtykey.Revoke  end leases early
    Sixtykey.Status    counters, listeners, memory   Sixtykey.Reload  credentials and TLS again
    Sixtykey.Metrics   the same for Prometheus

The socket's group may ask. Revoke and Reload need root or the daemon's own user. Each is audited
under its own name, and none exists on the network listener.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, Callable, Optional

from agent import __version__
from agent.audit.metrics import prometheus
from agent.audit.record import Record
from agent.config.document import Problems
from agent.config.limits import LIMITS
from agent.leases.lease import Lease, NotDurable
from agent.leases.store import LeaseStore
from agent.sources.api.errors import (
    AccessDeniedException,
    InvalidArgsException,
    MissingParameter,
    ServiceException,
    ValidationError,
)
from agent.sources.api.local_door import Answer, OperatorAction
from agent.sources.api.message import Peer, read_members
from agent.sources.context import Context

Body = dict[str, Any]


# The state of a source: Attached, Problem (None: lookups wait for it), Waiting (how many wait).
SourceState = Callable[[], dict[str, Any]]


class Operator:
    """What an operator can ask a running daemon.

    `reload` reloads credentials and TLS files, or raises Problems and keeps the old ones;
    `listeners` maps names to addresses; `sources` gives the state of each configured source.
    """

    def __init__(
        self,
        context: Context,
        store: LeaseStore,
        reload: Callable[[], Awaitable[None]],
        listeners: Mapping[str, str],
        sources: Optional[Mapping[str, SourceState]] = None,
    ) -> None:
        self._context = context
        self._config = context.config
        self._clock = context.clock
        self._audit = context.audit
        self._store = store
        self._reload = reload
        self._listeners = dict(listeners)
        self._sources = dict(sources or {})
        self._started = context.clock.boottime()
        self._wall_at_boot = context.clock.wall() - context.clock.boottime()
        self._asked: dict[tuple[str, str], float] = {}

    def actions(self) -> Mapping[str, OperatorAction]:
        """The actions by X-Amz-Target."""
        return {
            "Sixtykey.Identity": self.identity,
            "Sixtykey.List": self.leases,
            "Sixtykey.Status": self.status,
            "Sixtykey.Metrics": self.metrics,
            "Sixtykey.Why": self.why,
            "Sixtykey.Revoke": self.revoke,
            "Sixtykey.Reload": self.reload,
        }

    async def identity(self, peer: Peer, body: bytes, record: Record) -> Answer:
        """Which instance this is, and how long keys live: a local push needs both."""
        _members(body)
        told = {**self._names(), "Lifetime": self._config.keys.lifetime}
        return Answer(told, self._is_repeated(peer, record))

    async def leases(self, peer: Peer, body: bytes, record: Record) -> Answer:
        """Every live lease, or those of OSUser; the one that ends first comes first."""
        members = _members(body, "OSUser")
        told = {"Leases": self._describe_leases(members.get("OSUser"))}
        return Answer(told, self._is_repeated(peer, record))

    async def why(self, _: Peer, body: bytes, record: Record) -> Answer:
        """The recent decisions about OSUser, newest first, and the live leases."""
        members = _members(body, "OSUser")
        os_user = _require(members, "OSUser")
        record.os_user = os_user
        history, now = self._audit.history, self._clock.boottime()
        told = {
            "Leases": self._describe_leases(os_user),
            "Decisions": history.of(os_user, now),
            "Asked": history.last_miss(os_user, now),
            "Unwritten": history.unwritten(now),
            "Problems": {name: describe()["Problem"] for name, describe in self._sources.items()},
            "Uptime": round(now - self._started, 3),
            **self._names(),
        }
        return Answer(told)

    async def status(self, peer: Peer, body: bytes, record: Record) -> Answer:
        """How the daemon is: identity, listeners, leases by user, counters since its start."""
        _members(body)
        return Answer(self._status(), self._is_repeated(peer, record))

    async def metrics(self, peer: Peer, body: bytes, record: Record) -> Answer:
        """The status in Prometheus' text format; GET /metrics answers the text alone."""
        _members(body)
        text = prometheus(self._status())
        return Answer({"Metrics": text}, self._is_repeated(peer, record))

    def _status(self) -> Body:
        now, wall = self._clock.boottime(), self._clock.wall()
        users: dict[str, int] = {}
        for lease in self._store.table.live():
            users[lease.os_user] = users.get(lease.os_user, 0) + 1
        counters: dict[str, dict[str, int]] = {}
        for (event, outcome), count in sorted(self._audit.counts.items()):
            counters.setdefault(event, {})[outcome] = count
        return {
            "Version": __version__,
            **self._names(),
            "ProcessId": os.getpid(),
            "Uptime": round(now - self._started, 3),
            "ClockStepped": round(wall - now - self._wall_at_boot, 3),
            "Lifetime": self._config.keys.lifetime,
            "Listeners": self._listeners,
            "Leases": {"Total": sum(users.values()), "ByUser": users},
            "Counters": counters,
            "Journal": self._journal(),
            "Sources": {name: describe() for name, describe in self._sources.items()},
            "Memory": _resident_bytes(),
        }

    async def revoke(self, peer: Peer, body: bytes, record: Record) -> Answer:
        """End leases before their time: of OSUser, with Fingerprint that key, or All."""
        members = _members(body, "OSUser", "Fingerprint", "All")
        os_user, fingerprint = members.get("OSUser"), members.get("Fingerprint")
        record.os_user, record.fingerprint = os_user, fingerprint
        _demand_root(peer)
        everything = members.get("All") is True
        if everything == (os_user is not None):
            raise MissingParameter("Give OSUser, or All: true; not both.")
        table = self._store.table
        live = table.live() if os_user is None else table.of(os_user)
        gone = [lease for lease in live if lease.is_for(fingerprint)]
        self._store.revoke_unread(os_user, fingerprint)
        await self._end(gone)
        record.reason = f"{len(gone) or 'no'} key{'' if len(gone) == 1 else 's'}" + (
            " of all users" if everything else ""
        )
        return Answer({"Revoked": [self._describe(lease) for lease in gone]})

    async def reload(self, peer: Peer, body: bytes, _: Record) -> Answer:
        """Reload the credentials and TLS files."""
        _members(body)
        _demand_root(peer)
        try:
            await self._reload()
        except Problems as problems:
            raise InvalidArgsException(
                "Not reloaded, the previous files stay in use: " + "; ".join(problems.problems)
            ) from None
        return Answer({"Reloaded": True})

    async def _end(self, leases: Iterable[Lease]) -> None:
        gone, now = list(leases), self._clock.boottime()
        for lease in gone:
            self._audit.history.record_revocation(lease, now)
        try:
            await self._store.revoke(gone)
        except NotDurable as error:
            raise ServiceException(
                f"Revoked, but the journal still has it: {error}. It is removed when that is "
                "mended; a restart before then may bring it back."
            ) from None

    def _names(self) -> Body:
        return {
            "InstanceId": self._context.identity.instance_id,
            "AvailabilityZone": self._context.identity.availability_zone,
            "Region": self._context.identity.region,
        }

    def _journal(self) -> Body:
        try:
            self._store.check()
        except NotDurable as error:
            return {"Path": self._config.journal, "Problem": str(error)}
        return {"Path": self._config.journal, "Problem": None}

    def _describe_leases(self, os_user: Optional[str]) -> list[Body]:
        table = self._store.table
        leases = table.live() if os_user is None else table.of(os_user)
        return [self._describe(e) for e in sorted(leases, key=lambda e: e.expires_at)]

    def _describe(self, lease: Lease) -> Body:
        return {
            "OSUser": lease.os_user,
            "Type": lease.key.type,
            "Bits": lease.key.bits,
            "Fingerprint": lease.key.fingerprint,
            "RequestId": lease.request_id,
            "Principal": lease.principal,
            "Source": lease.source,
            "SecondsLeft": round(lease.expires_at - self._clock.boottime(), 3),
            "Lifetime": round(lease.expires_at - lease.pushed_at, 3),
            "UsesLeft": lease.uses,
            "PinnedSource": lease.pinned_source,
            "Options": list(lease.options),
        }

    def _is_repeated(self, peer: Peer, record: Record) -> bool:
        """Whether this peer asked the same a moment ago: `list --watch` must not fill the log."""
        now, asked = self._clock.boottime(), (f"uid:{peer.uid}", record.event)
        last = self._asked.get(asked)
        if last is not None and now < last + LIMITS.operator_quiet_seconds:
            return True
        if len(self._asked) >= LIMITS.connections:
            self._asked.clear()
        self._asked[asked] = now
        return False


def _members(body: bytes, *known: str) -> Body:
    """The request's members, each of the right type. Raises ValidationError."""
    members = read_members(body, *known)
    for name, value in members.items():
        if not isinstance(value, bool if name == "All" else str):
            raise ValidationError(f"{name} has the wrong type.")
    return members


def _require(members: Body, name: str) -> str:
    if not members.get(name):
        raise MissingParameter(f"Missing: {name}.")
    return str(members[name])


def _demand_root(peer: Peer) -> None:
    """Raise AccessDeniedException unless the peer is root or the daemon's own user."""
    if peer.uid not in {0, os.geteuid()}:
        raise AccessDeniedException("Only root may do this.")


def _resident_bytes() -> int:
    """This process's memory: the second field of /proc/self/statm, in pages (proc(5))."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
