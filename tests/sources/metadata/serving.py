"""A signer, a metadata service that shows it, and a source that asks that service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any, Callable, Optional, TypeVar

from agent.sources.metadata import roots
from agent.sources.metadata.http import Connection
from agent.sources.metadata.imds import Metadata
from agent.sources.metadata.source import Found, Source
from tests.parts.clock import ManualClock
from tests.parts.daemon import INSTANCE_ID
from tests.parts.ec2_signer import Ec2Signer
from tests.parts.host import work_directory
from tests.parts.metadata import MetadataFolder, MetadataServer

Result = TypeVar("Result")
Course = Callable[[Source], Awaitable[Result]]


class Service:
    """The metadata service of one host with a manual clock; each run has a new source."""

    def __init__(self, data: MetadataFolder, server: MetadataServer, signer: Ec2Signer) -> None:
        self.data = data
        self.server = server
        self.signer = signer
        self.clock = ManualClock(wall=time.time())
        self.roots = str(signer.pem("root"))

    async def course(self, course: Course[Result], seconds: float = 10.0) -> Result:
        """Run a course of events with a source that knows nothing yet."""
        connection = Connection(self.server.url, seconds)
        metadata = Metadata(connection, self.clock)
        source = Source(metadata, lambda: roots.load(self.roots), INSTANCE_ID, self.clock)
        try:
            return await course(source)
        finally:
            connection.close()
            await asyncio.sleep(0)

    def run(self, course: Course[Result], seconds: float = 10.0) -> Result:
        """Run a course in a new event loop. `seconds` is the timeout of one request."""
        return asyncio.run(self.course(course, seconds))

    def ask(self, os_user: str = "alice", fingerprint: Optional[str] = None) -> Found:
        """The answer of a source that knows nothing yet."""
        return self.run(lambda source: source.answer(os_user, fingerprint))

    def block(self, key: str, left: float = 60.0, **more: Any) -> bytes:
        """A signed block whose key ends in `left` seconds by the test's clock."""
        return self.signer.block(key, expires=self.clock.wall() + left, **more)


@contextmanager
def service(signer: Ec2Signer) -> Iterator[Service]:
    """A metadata service with the signer's chain and answers, and no keys."""
    with work_directory() as folder:
        data = MetadataFolder(folder / "metadata")
        data.set_signer(signer)
        with MetadataServer(data.folder) as server:
            yield Service(data, server, signer)
