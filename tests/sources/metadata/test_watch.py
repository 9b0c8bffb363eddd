"""How sixtykeyd-ec2 watches the metadata service between questions."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from agent.sources.feed.messages import Ask, FromSource, Health, encode, from_source
from agent.sources.metadata import http
from agent.sources.metadata.http import Connection
from agent.sources.metadata.imds import Metadata
from agent.sources.metadata.process import Process
from agent.sources.metadata.source import Source
from tests.parts.daemon import INSTANCE_ID
from tests.sources.metadata.serving import Service


class Daemon:
    """The daemon's end of the source socket; it records messages and asks questions."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[FromSource] = asyncio.Queue()
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Record what a source says until it disconnects."""
        self.writers.append(writer)
        while line := await reader.readline():
            self.heard.put_nowait(from_source(line))

    async def health(self) -> bool:
        """The next report about the metadata service."""
        while not isinstance(message := await self.heard.get(), Health):
            pass
        return message.well


def test_a_defect_does_not_end_the_watch(ec2: Service, tmp_path: Path) -> None:
    """An unexpected error does not end the watch: a later failure is still reported."""

    async def course() -> None:
        daemon, failed = Daemon(), asyncio.Event()

        def roots() -> list[x509.Certificate]:
            failed.set()
            raise RuntimeError("a defect that nobody has foreseen")

        path = str(tmp_path / "source.sock")
        server = await asyncio.start_unix_server(daemon.serve, path)
        connection = Connection(ec2.server.url, 10)
        source = Source(Metadata(connection, ec2.clock), roots, INSTANCE_ID, ec2.clock)
        working = asyncio.create_task(Process(source, path, ec2.clock).run())
        try:
            while not await daemon.health():
                pass
            await failed.wait()
            ec2.data.behave(drop=True)
            daemon.writers[0].write(encode(Ask(1, "alice", None)))
            assert not await daemon.health()
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            connection.close()
            server.close()
            for writer in daemon.writers:
                writer.transport.abort()
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(course(), 20))


def test_a_service_that_is_away_is_looked_at_often(
    ec2: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the metadata service is away, it is looked at every 5 s at least, for however long."""
    pauses: list[float] = []

    async def pass_time(waiting: Coroutine[Any, Any, object], pause: float) -> None:
        waiting.close()
        pauses.append(pause)
        await asyncio.sleep(0)
        if len(pauses) == 12:
            raise asyncio.CancelledError
        raise asyncio.TimeoutError

    class Passing(Process):
        """A process whose pauses take no time."""

        async def watch(self) -> None:
            """Watch until the pauses are over."""
            with monkeypatch.context() as patched:
                patched.setattr("agent.sources.metadata.process.asyncio.wait_for", pass_time)
                await self._watch()

    class Away(Source):
        """A source whose metadata service is away."""

        async def probe(self) -> None:
            """Find nobody."""
            raise http.Away("nobody is there")

    async def course() -> None:
        connection = Connection(ec2.server.url, 10)
        source = Away(Metadata(connection, ec2.clock), list, INSTANCE_ID, ec2.clock)
        with pytest.raises(asyncio.CancelledError):
            await Passing(source, "/nowhere", ec2.clock).watch()
        connection.close()

    asyncio.run(course())
    assert pauses == [1.0, 2.0, 4.0] + [5.0] * 9
