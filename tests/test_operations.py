"""The operator's actions: what they answer, who may ask, and what the audit says of it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any, Callable, Optional

import pytest

from agent.audit.record import Record
from agent.sources.api.errors import (
    AccessDeniedException,
    InvalidArgsException,
    MissingParameter,
    ServiceException,
    ValidationError,
)
from agent.sources.api.message import Peer
from tests.parts.command import run
from tests.parts.daemon import RunningDaemon
from tests.parts.desk import ROOT, Desk
from tests.parts.host import work_directory
from tests.parts.leases import make_lease

SOMEBODY = Peer("unix", uid=54321)


def at_desk(course: Callable[[Desk], Awaitable[None]], journal: Optional[Path] = None) -> None:
    """Run a course of events at a desk whose store is open."""

    async def run_it() -> None:
        desk = Desk(None if journal is None else str(journal))
        await desk.store.open()
        await desk.store.load_marks()
        try:
            await course(desk)
        finally:
            desk.store.close()

    asyncio.run(run_it())


def test_list_tells_live_leases_and_who_ends_first() -> None:
    """Each lease with its user, key, pusher and seconds left; the one that ends first on top."""

    async def course(desk: Desk) -> None:
        late, soon = make_lease("bob", at=1000.0), make_lease("alice", at=990.0)
        for lease in (late, soon, make_lease("carol", at=940.0 + 0.5)):
            await desk.store.add(lease)
        desk.clock.advance(0.5)
        told = (await desk.ask("List"))["Leases"]
        assert [(e["OSUser"], e["SecondsLeft"]) for e in told] == [("alice", 49.5), ("bob", 59.5)]
        assert told[0]["Fingerprint"] == soon.key.fingerprint
        assert told[0]["Principal"] == soon.principal
        assert (told[0]["UsesLeft"], told[0]["PinnedSource"], told[0]["Options"]) == (
            None,
            None,
            [],
        )
        (only,) = (await desk.ask("List", OSUser="bob"))["Leases"]
        assert only["RequestId"] == late.request_id

    at_desk(course)


def test_list_tells_what_a_key_is_good_for() -> None:
    """How many logins are left, from where alone, and with which options."""

    async def course(desk: Desk) -> None:
        limits: dict[str, Any] = {"pinned_source": "192.0.2.7", "options": ("restrict", "pty")}
        await desk.store.add(make_lease("alice", uses=1, **limits))
        (told,) = (await desk.ask("List"))["Leases"]
        assert (told["UsesLeft"], told["PinnedSource"]) == (1, "192.0.2.7")
        assert told["Options"] == ["restrict", "pty"]

    at_desk(course)


@pytest.mark.parametrize("action", ["Revoke", "Reload"])
def test_revoke_and_reload_take_root(action: str) -> None:
    """A member of the socket's group may look and push, and not revoke or reload."""

    async def course(desk: Desk) -> None:
        await desk.store.add(make_lease("alice"))
        members = {"All": True} if action == "Revoke" else {}
        with pytest.raises(AccessDeniedException):
            await desk.ask(action, SOMEBODY, **members)
        assert len(desk.store.table) == 1
        await desk.ask(action, ROOT, **members)
        await desk.ask(action, Peer("unix", uid=os.geteuid()), **members)

    at_desk(course)


def test_revoke_ends_what_was_named_and_nothing_else() -> None:
    """One key of a user, all of a user, all of the host: each just that."""

    async def course(desk: Desk) -> None:
        leases = [make_lease(user) for user in ("alice", "alice", "bob", "carol")]
        for lease in leases:
            await desk.store.add(lease)
        first = leases[0].key.fingerprint
        (gone,) = (await desk.ask("Revoke", OSUser="alice", Fingerprint=first))["Revoked"]
        assert gone["Fingerprint"] == first
        assert desk.record.os_user == "alice"
        md5 = leases[1].key.md5_fingerprint
        assert len((await desk.ask("Revoke", OSUser="alice", Fingerprint=md5))["Revoked"]) == 1
        assert (await desk.ask("Revoke", OSUser="alice"))["Revoked"] == []
        assert len(desk.store.table) == 2
        assert len((await desk.ask("Revoke", All=True))["Revoked"]) == 2
        assert len(desk.store.table) == 0

    at_desk(course)


def test_a_revoked_key_stays_gone_after_a_restart(tmp_path: Path) -> None:
    """What was revoked is out of the journal too; what was not is still there."""

    async def course(desk: Desk) -> None:
        for user in ("alice", "bob"):
            await desk.store.add(make_lease(user))
        await desk.ask("Revoke", OSUser="alice")
        desk.store.close()
        desk.store = desk.new_store()
        assert [lease.os_user for lease in await desk.store.open()] == ["bob"]

    at_desk(course, tmp_path / "leases.db")


def test_a_journal_that_cannot_forget_is_said(tmp_path: Path) -> None:
    """The key is gone for the next lookup, and the operator is told that it may come back."""

    async def course(desk: Desk) -> None:
        await desk.store.add(make_lease("alice"))

        assert desk.store._journal is not None
        desk.store._journal.close()
        with pytest.raises(ServiceException, match=r"journal still has it: .*not open"):
            await desk.ask("Revoke", OSUser="alice")
        assert desk.store.table.of("alice") == ()

    at_desk(course, tmp_path / "leases.db")


@pytest.mark.parametrize(
    ("action", "members", "error"),
    [
        ("Why", {}, MissingParameter),
        ("Why", {"OSUser": ""}, MissingParameter),
        ("Why", {"OSUser": 7}, ValidationError),
        ("List", {"Else": "x"}, ValidationError),
        ("Revoke", {}, MissingParameter),
        ("Revoke", {"OSUser": "a", "All": True}, MissingParameter),
        ("Revoke", {"All": "yes"}, ValidationError),
        ("Status", {"OSUser": "a"}, ValidationError),
    ],
)
def test_members_are_checked(action: str, members: dict[str, Any], error: type[Exception]) -> None:
    """An unknown or missing member, or one of the wrong type, is refused and does nothing."""

    async def course(desk: Desk) -> None:
        await desk.store.add(make_lease("a"))
        with pytest.raises(error):
            await desk.ask(action, **members)
        assert len(desk.store.table) == 1

    at_desk(course)


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    """Whatever is not one JSON object gets a ValidationError."""

    async def course(desk: Desk) -> None:
        with pytest.raises(ValidationError):
            await desk.operator.leases(ROOT, body, Record("list", "x"))

    at_desk(course)


def test_reload_says_what_is_wrong() -> None:
    """Problems of the files reach the operator, all of them."""

    async def course(desk: Desk) -> None:
        desk.problems = ["a is wrong", "b too"]
        with pytest.raises(InvalidArgsException, match="a is wrong; b too"):
            await desk.ask("Reload")

    at_desk(course)


def test_reading_again_is_counted_not_recorded() -> None:
    """A --watch or a scrape is one record a minute; another user's is its own."""

    async def course(desk: Desk) -> None:
        quiet = []
        for peer, wait in ((ROOT, 0), (ROOT, 1), (SOMEBODY, 0), (ROOT, 60)):
            desk.clock.advance(wait)
            await desk.ask("List", peer)
            quiet.append(desk.quiet)
        assert quiet == [False, True, False, False]

    at_desk(course)


def test_status_counts_and_notices_a_stepped_clock() -> None:
    """Uptime by the boot clock, the wall clock's steps, leases by user, outcomes by event."""

    async def course(desk: Desk) -> None:
        await desk.store.add(make_lease("alice"))
        desk.audit.record(Record("push", "allowed"))
        desk.audit.count("lookup", "none")
        desk.clock.advance(10)
        desk.clock.set_wall(desk.clock.wall() - 3600)
        status = await desk.ask("Status")
        assert (status["Uptime"], status["ClockStepped"]) == (10.0, -3600.0)
        assert status["Leases"] == {"Total": 1, "ByUser": {"alice": 1}}
        assert status["Counters"] == {"push": {"allowed": 1}, "lookup": {"none": 1}}
        assert status["Journal"] == {"Path": None, "Problem": None}
        assert 2**20 < status["Memory"] < 2**32

    at_desk(course)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A folder for a daemon."""
    with work_directory() as folder:
        yield folder


def over_tcp(port: int, target: str) -> str:
    """The code of the answer to an unsigned request on the network listener."""
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(
            f"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Amz-Target: {target}\r\n"
            "Content-Length: 2\r\n\r\n{}".encode()
        )
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["__type"])


def test_none_of_them_exists_on_the_network(directory: Path) -> None:
    """Over TCP every operator's action is an unknown one, and /metrics is no way to ask."""
    with RunningDaemon(directory) as daemon:
        for action in ("List", "Status", "Why", "Revoke", "Reload", "Identity", "Metrics"):
            assert over_tcp(daemon.http_port, f"Sixtykey.{action}") == "InvalidAction"
        with socket.create_connection(("127.0.0.1", daemon.http_port), 10) as sock:
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b" 400 " in sock.recv(65536).split(b"\r\n")[0]


def test_each_is_audited_under_its_own_name(directory: Path) -> None:
    """List, status, why, revoke and reload are records with who asked and what came of it."""
    with RunningDaemon(directory) as daemon:
        commands = (["list"], ["status"], ["why", "alice"], ["revoke", "alice"])
        for words in commands:
            run(*words, "--socket", daemon.push_socket)
        me = f"uid:{os.geteuid()}"
        for event in ("list", "status", "why", "revoke"):
            record = daemon.await_audit(event=event, outcome="allowed")
            assert (record["principal"], record["source"]) == (me, "unix")
            assert record["user_agent"] == "sixtykey"
        assert daemon.audit(event="why")[0]["os_user"] == "alice"
        assert daemon.audit(event="push") == []
