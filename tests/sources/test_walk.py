"""A request walks through the code in one direction: it comes back to no module that it has left.

The modules that are not counted stand here, each with the reason.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.leases.journal import Journal
from agent.lookup.admission import Admissions
from agent.lookup.answers import Lookups
from agent.lookup.handouts import HandOuts
from agent.lookup.server import END_MARK, LookupServer
from agent.sources.api.http_server import HttpServer
from tests.parts.host import ROOT
from tests.parts.signed import Call, push
from tests.sources.api.front import Front
from tests.sources.walk import Step, climbs, until_answered, walking

PATIENCE = 30.0
"""Seconds to wait for an answer before that is called a failure."""

DOORS = ("sources/api/door.py", "sources/api/network_door.py", "sources/api/local_door.py")
"""The door: what all doors have in common, and what each listener's own adds to it."""
NOT_COUNTED = {
    "sources/api/message.py": "a value: the request, and functions that make a response",
    "leases/keys.py": "a value: the key",
    "leases/lease.py": "a value: the lease",
    "config/patterns.py": "the grammar of names: functions of a text",
    "host/turnstile.py": "waits for a turn of the event loop",
    "leases/turns.py": "entered and left around the walk, by `async with`",
    "audit/": "takes notes along the way, and decides nothing about the request",
}
GATE = "sources/readiness.py"
"""Looks, before anything of the request is read, whether turns and the store work."""
ENDS = {("leases/store.py", "leases/table.py"), ("leases/store.py", "sources/replay.py")}
"""The end of the walk: durable first, then live and remembered. Both were asked before whether
there is room: a look before the journal and a write after it cannot be one visit."""


class Running:
    """Both doors and the lookups, on sockets, with a journal that is written in this thread."""

    def __init__(self, folder: Path) -> None:
        self.front = Front(journal=Journal(str(folder / "leases.db")))
        handouts = HandOuts(str(folder / "handed"))
        front = self.front
        lookups = Lookups(front.store.table, front.clock, front.audit, handouts)
        admissions = Admissions(front.store, handouts, front.clock, front.audit)
        self._lookups = LookupServer(lookups, admissions)
        self._servers = {
            "push": HttpServer(front.local.answer, lambda _: None),
            "network": HttpServer(front.network.answer, lambda _: None),
        }
        self._sockets = {
            "push": socket.socket(socket.AF_UNIX),
            "lookup": socket.socket(socket.AF_UNIX),
            "network": socket.socket(),
        }
        for name in ("push", "lookup"):
            self._sockets[name].bind(str(folder / name))
        self._sockets["network"].bind(("127.0.0.1", 0))

    async def start(self) -> None:
        """Open the journal, and listen."""
        await self.front.store.open()
        await self.front.store.load_marks()
        for name, server in self._servers.items():
            server.start(self._sockets[name])
        self._lookups.start(self._sockets["lookup"])

    async def stop(self) -> None:
        """Stop listening, and close the journal."""
        for server in self._servers.values():
            await server.stop()
        await self._lookups.stop()
        self.front.store.close()

    async def follow(self, where: str, sent: bytes, end: bytes) -> tuple[list[Step], bytes]:
        """Send a request; return its steps, and the answer up to `end`."""
        address = self._sockets[where].getsockname()
        root = "lookup/server.py" if where == "lookup" else "sources/api/http.py"
        opening = (
            asyncio.open_connection(*address)
            if where == "network"
            else asyncio.open_unix_connection(address)
        )
        with walking(root) as walk:
            reader, writer = await opening
            writer.write(sent)
            answer = await asyncio.wait_for(reader.readuntil(end), PATIENCE)
        writer.close()
        await writer.wait_closed()
        # The end of this connection is no step of the next one.
        while any(server._places for server in self._servers.values()):
            await asyncio.sleep(0)
        return walk.steps, answer


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Running]:
    """A running service."""
    service = Running(folder)
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


def follow_push(folder: Path, where: str, call: Call) -> list[Step]:
    """The steps of an accepted push, up to the door's answer."""

    async def course() -> list[Step]:
        async with running(folder) as service:
            signed = call if where == "push" else service.front.signed(call)
            steps, answer = await service.follow(where, signed.raw(), b"}")
            assert b'"Success": true' in answer
            return until_answered(steps, DOORS)

    return asyncio.run(course())


def counted(steps: list[Step], but: str = "") -> list[Step]:
    """The steps that count; `but`: without this exception."""
    apart = tuple(name for name in NOT_COUNTED if name != but)
    return [
        step
        for step in steps
        if not step.module.startswith(apart) and (GATE not in step.within or but == GATE)
    ]


def climbed(steps: list[Step]) -> list[str]:
    """Where the walk climbs back to anything but the door, except for its end."""
    return [
        str(step)
        for step in climbs(steps)
        if step.module not in DOORS and (step.caller, step.module) not in ENDS
    ]


def visited(steps: list[Step]) -> list[str]:
    """The modules of a walk in the order in which they are entered."""
    return list(dict.fromkeys(step.module for step in steps))


def described() -> list[str]:
    """The modules of the walk in docs/architecture.md, in their order."""
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    section = text.partition("## How a request is processed\n")[2].partition("\n## ")[0]
    items = re.findall(r"^\d+\. (.*(?:\n   .*)*)", section, re.MULTILINE)
    return [name for item in items for name in re.findall(r"`([a-z0-9_/]+\.py)`", item)]


@pytest.mark.parametrize("where", ["push", "network"])
def test_a_push_climbs_back_into_no_module_that_it_has_left(tmp_path: Path, where: str) -> None:
    """From its first byte to the door's answer, a push enters each module once."""
    steps = counted(follow_push(tmp_path, where, push()))
    assert climbed(steps) == []
    assert {"sources/intake.py", "leases/store.py", "leases/journal.py"} <= set(visited(steps))


def test_a_replayed_push_climbs_back_into_no_module_either(tmp_path: Path) -> None:
    """A replayed push ends at the replay memory, and has come straight to it."""

    async def course() -> list[Step]:
        async with running(tmp_path) as service:
            sent = service.front.signed(push()).raw()
            (_, first), (steps, again) = [
                await service.follow("network", sent, b"}") for _ in range(2)
            ]
            assert first.partition(b"\r\n\r\n")[2] == again.partition(b"\r\n\r\n")[2]
            return counted(until_answered(steps, DOORS))

    steps = asyncio.run(course())
    assert climbed(steps) == []
    assert visited(steps)[-1] == "sources/replay.py"


def test_a_lookup_climbs_back_into_no_module_that_it_has_left(tmp_path: Path) -> None:
    """A lookup enters each module once, from its line to the key's."""

    async def course() -> list[Step]:
        async with running(tmp_path) as service:
            await service.follow("push", push().raw(), b"}")
            steps, answer = await service.follow("lookup", b"ec2-user\n", b"\n" + END_MARK)
            assert answer.startswith(b"ssh-ed25519 ")
            return steps

    steps = asyncio.run(course())
    assert climbs(counted(steps)) == []
    assert steps[-1].module == "leases/keys.py"


def test_the_walk_is_the_one_that_is_described(tmp_path: Path) -> None:
    """docs/architecture.md names the modules of a signed push in the order of the walk."""
    steps = [
        step
        for step in counted(follow_push(tmp_path, "network", push()))
        if not step.module.startswith("leases/journal_")
    ]
    assert ["sources/api/http.py", *visited(steps)] == described()


@pytest.mark.parametrize("name", [*NOT_COUNTED, GATE])
def test_every_exception_is_needed(tmp_path: Path, name: str) -> None:
    """Each module that is not counted would be entered again, so the list has no idle entry."""
    assert climbed(counted(follow_push(tmp_path, "network", push()), but=name)) != []


def test_the_walk_ends_in_the_store(tmp_path: Path) -> None:
    """The two memories are written by the store, after the journal, and nothing follows them."""
    modules = [step.module for step in counted(follow_push(tmp_path, "network", push()))]
    after = modules[modules.index("leases/journal.py") :]
    assert [name for name in after if not name.startswith("leases/journal")] == [
        "leases/table.py", "sources/replay.py",
    ]  # fmt: skip
