"""The daemon's side of the source socket: server, role, intake, table and lookups."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Callable, Optional

from agent.audit.history import History
from agent.audit.record import Audit
from agent.config.identity import Identity
from agent.config.limits import LIMITS
from agent.config.settings import Config, Keys
from agent.leases.store import LeaseStore
from agent.leases.turns import Turns
from agent.lookup.admission import Admissions
from agent.lookup.answers import Lookups
from agent.lookup.handouts import HandOuts
from agent.lookup.server import END_MARK, LookupServer
from agent.sources.context import Context
from agent.sources.feed.ec2 import Ec2Role
from agent.sources.feed.messages import Answer, FromSource, Health, Hello, Offered, encode
from agent.sources.feed.server import FeedServer
from agent.sources.intake import Intake
from agent.sources.readiness import Readiness
from agent.sources.replay import ReplayMemory
from agent.sources.steps import Steps
from tests.parts.clock import ManualClock
from tests.parts.daemon import INSTANCE_ID, REGION, ZONE
from tests.parts.leases import ed25519_line

PATIENCE = 30.0
"""Seconds to wait for a line before that is called a failure."""


class Peer:
    """A source that sends lines and reads the questions."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    def say(self, *messages: FromSource) -> None:
        """Send these messages."""
        for message in messages:
            self.writer.write(encode(message))

    async def hear(self) -> dict[str, Any]:
        """The next line as an object; fails if the connection was closed."""
        line = await asyncio.wait_for(self._reader.readline(), PATIENCE)
        assert line, "the connection was closed"
        heard = json.loads(line)
        assert isinstance(heard, dict)
        return heard

    async def is_closed(self) -> bool:
        """Wait for the end of the connection; whether it ends without further data."""
        try:
            return await asyncio.wait_for(self._reader.read(), PATIENCE) == b""
        except ConnectionResetError:
            return True


class House:
    """All parts of the daemon that a source is connected with."""

    def __init__(
        self, folder: Path, keys: Optional[Keys] = None, marks: int = LIMITS.remembered_marks
    ) -> None:
        self.clock = ManualClock()
        self.records: list[dict[str, Any]] = []
        # Event and outcome of the records that no flood may displace.
        self.kept: list[tuple[str, str]] = []
        self.audit = Audit(self._write, self.clock, History())
        config = Config(keys=keys or Keys(), journal=None)
        self.memory = ReplayMemory(self.clock, marks)
        self.store = LeaseStore(config.keys, None, self.memory, self.clock, print)
        identity = Identity(INSTANCE_ID, ZONE, REGION)
        turns = Turns(self.clock)
        self.context = Context(config, identity, self.clock, self.audit, turns)
        self.steps = Steps(
            Readiness(turns, self.store), self.memory, Intake(self.context, self.store)
        )
        self.role = Ec2Role(self.context, self.steps)
        handouts = HandOuts(str(folder / "handed"))
        lookups = Lookups(self.store.table, self.clock, self.audit, handouts, self.role)
        admissions = Admissions(self.store, handouts, self.clock, self.audit)
        self.lookups = LookupServer(lookups, admissions)
        self.allowed: tuple[str, ...] = ("ec2", "fleet")
        self.hello_seconds = 30.0
        self.paths = {name: str(folder / f"{name}.sock") for name in ("source", "lookup")}
        self.feed = FeedServer({})

    def _write(self, line: bytes, _: int, decision: tuple[str, str], essential: bool) -> None:
        self.records.append(json.loads(line))
        self.kept += [decision] if essential else []

    def pushes(self) -> list[dict[str, Any]]:
        """The audit's records of pushes."""
        return [each for each in self.records if each["event"] == "push"]

    def start(self) -> None:
        """Listen on both sockets."""
        self.feed = FeedServer({"ec2": self.role}, lambda _: self.allowed, self.hello_seconds)
        for name, server in (("source", self.feed), ("lookup", self.lookups)):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(self.paths[name])
            server.start(listener)

    async def connect(self) -> Peer:
        """A connection that has not sent anything yet."""
        return Peer(*await asyncio.open_unix_connection(self.paths["source"]))

    async def attach(self) -> Peer:
        """A source that has reported to be well."""
        peer = await self.connect()
        peer.say(Hello("ec2"), Health(True))
        while self.role.describe()["Problem"] is not None:
            await asyncio.sleep(0.001)
        return peer

    async def look_up(self, line: str) -> bytes:
        """The answer that sshd's helper gets."""
        reader, writer = await asyncio.open_unix_connection(self.paths["lookup"])
        writer.write(line.encode())
        try:
            answer = await asyncio.wait_for(reader.read(), PATIENCE)
            assert answer in {b"", END_MARK} or answer.endswith(b"\n" + END_MARK)
            return answer[: -len(END_MARK)]
        finally:
            writer.close()

    def offered(self, number: int = 1, **more: Any) -> Offered:
        """An offer of a key that lives for a minute; `number` selects the key."""
        fields: dict[str, Any] = {
            "os_user": "alice",
            "instance": INSTANCE_ID,
            "key": ed25519_line(number),
            "left": 60.0,
            "digest": f"{number:064x}",
            "dated": self.clock.wall(),
            "caller": "arn:aws:iam::123456789012:user/a",
            "request_id": "0d8f4a1e",
        }
        return Offered(**{**fields, **more})

    async def offer(self, peer: Peer, *offers: Offered, line: str = "alice\n") -> bytes:
        """Look up a user, answer with these offers, and return what sshd's helper gets.

        On a busy machine the lookup may not wait for the answer: it is processed afterwards then.
        """
        looking = asyncio.ensure_future(self.look_up(line))
        asked = await peer.hear()
        questions = self.role._questions
        peer.say(Answer(asked["ask"], offers))
        line_given = await looking
        while questions is not None and asked["ask"] in questions._owed:
            await asyncio.sleep(0.001)
        return line_given


@asynccontextmanager
async def house(folder: Path, **settings: Any) -> AsyncIterator[House]:
    """A running house. `settings` are attributes of it that are set before the start.

    `keys` is its policy, and `marks` the size of its replay memory.
    """
    parts = {name: settings.pop(name) for name in ("keys", "marks") if name in settings}
    made = House(folder, **parts)
    for name, value in settings.items():
        setattr(made, name, value)
    made.start()
    try:
        yield made
    finally:
        await made.feed.stop()
        await made.lookups.stop()
        made.store.close()
        await asyncio.sleep(0)


def at_house(folder: Path, course: Callable[[House], Awaitable[Any]], **settings: Any) -> None:
    """Run a course of events at a house."""

    async def run() -> None:
        async with house(folder, **settings) as made:
            await course(made)

    asyncio.run(run())
