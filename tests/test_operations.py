"""The operator's actions: their answers, who may use them, and their audit records."""

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


def test_list_shows_live_leases_and_the_next_to_end() -> None:
    """List gives each live lease with its fields, the one that ends first on top."""

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


def test_list_shows_the_limits_of_a_key() -> None:
    """List gives the remaining uses, the pinned source and the options of a lease."""

    async def course(desk: Desk) -> None:
        limits: dict[str, Any] = {"pinned_source": "192.0.2.7", "options": ("restrict", "pty")}
        await desk.store.add(make_lease("alice", uses=1, **limits))
        (told,) = (await desk.ask("List"))["Leases"]
        assert (told["UsesLeft"], told["PinnedSource"]) == (1, "192.0.2.7")
        assert told["Options"] == ["restrict", "pty"]

    at_desk(course)


@pytest.mark.parametrize("action", ["Revoke", "Reload"])
def test_revoke_and_reload_take_root(action: str) -> None:
    """Revoke and reload are refused to any user but root and the daemon's own."""

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
    """Revoke ends one key of a user, all keys of a user, or all keys, and no other."""

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
    """A revoked key is not restored after a restart, and the others are."""

    async def course(desk: Desk) -> None:
        for user in ("alice", "bob"):
            await desk.store.add(make_lease(user))
        await desk.ask("Revoke", OSUser="alice")
        desk.store.close()
        desk.store = desk.new_store()
        assert [lease.os_user for lease in await desk.store.open()] == ["bob"]

    at_desk(course, tmp_path / "leases.db")


def test_a_revocation_that_cannot_be_recorded_is_reported(tmp_path: Path) -> None:
    """When the journal is unusable, revoke ends the key and warns that it may come back."""

    async def course(desk: Desk) -> None:
        await desk.store.add(make_lease("alice"))

        assert desk.store._journal is not None
        desk.store._journal.close()
        with pytest.raises(ServiceException, match=r"journal still has it: .*not open"):
            await desk.ask("Revoke", OSUser="alice")
        assert desk.store.table.of("alice") == ()

    at_desk(course, tmp_path / "leases.db")


def test_a_revocation_holds_for_a_journal_that_is_read_later(tmp_path: Path) -> None:
    """Keys revoked while the journal cannot be read do not come back when it can."""

    async def course(desk: Desk) -> None:
        for os_user in ("alice", "bob"):
            await desk.store.add(make_lease(os_user))
        desk.store.close()
        (tmp_path / "run").rename(tmp_path / "away")
        desk = Desk(str(tmp_path / "run" / "leases.db"))
        await desk.store.open()
        with pytest.raises(ServiceException, match="journal still has it"):
            await desk.ask("Revoke", OSUser="alice")
        (tmp_path / "away").rename(tmp_path / "run")
        await desk.store.tend()
        assert [lease.os_user for lease in desk.store.table.live()] == ["bob"]
        desk.store.close()

    (tmp_path / "run").mkdir()
    at_desk(course, tmp_path / "run" / "leases.db")


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
def test_a_request_with_a_wrong_member_is_refused(
    action: str, members: dict[str, Any], error: type[Exception]
) -> None:
    """A request with an unknown, missing or wrong member is refused and changes nothing."""

    async def course(desk: Desk) -> None:
        await desk.store.add(make_lease("a"))
        with pytest.raises(error):
            await desk.ask(action, **members)
        assert len(desk.store.table) == 1

    at_desk(course)


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    """A request whose body is not a JSON object is refused with ValidationError."""

    async def course(desk: Desk) -> None:
        with pytest.raises(ValidationError):
            await desk.operator.leases(ROOT, body, Record("list", "x"))

    at_desk(course)


def test_reload_says_what_is_wrong() -> None:
    """A refused reload tells the operator every problem."""

    async def course(desk: Desk) -> None:
        desk.problems = ["a is wrong", "b too"]
        with pytest.raises(InvalidArgsException, match="a is wrong; b too"):
            await desk.ask("Reload")

    at_desk(course)


def test_reading_again_is_counted_not_recorded() -> None:
    """A repeated reading by one user is recorded once a minute, apart from other users'."""

    async def course(desk: Desk) -> None:
        quiet = []
        for peer, wait in ((ROOT, 0), (ROOT, 1), (SOMEBODY, 0), (ROOT, 60)):
            desk.clock.advance(wait)
            await desk.ask("List", peer)
            quiet.append(desk.quiet)
        assert quiet == [False, True, False, False]

    at_desk(course)


def test_status_counts_and_notices_a_stepped_clock() -> None:
    """Status gives the uptime, the step of the wall clock, leases by user and counters."""

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


def test_no_operators_action_exists_on_the_network(directory: Path) -> None:
    """Over the network, every operator's action is unknown and /metrics is refused."""
    with RunningDaemon(directory) as daemon:
        for action in ("List", "Status", "Why", "Revoke", "Reload", "Identity", "Metrics"):
            assert over_tcp(daemon.http_port, f"Sixtykey.{action}") == "InvalidAction"
        with socket.create_connection(("127.0.0.1", daemon.http_port), 10) as sock:
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b" 400 " in sock.recv(65536).split(b"\r\n")[0]


def test_each_is_audited_under_its_own_name(directory: Path) -> None:
    """Each action is audited under its own name, with the principal that asked."""
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
