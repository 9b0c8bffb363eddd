"""A relay to a server, that makes it seem slow."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any


@contextlib.asynccontextmanager
async def delayed(port: int, seconds: float) -> AsyncIterator[str]:
    """The URL of a relay to the server at `port`, whose first bytes arrive `seconds` late."""
    tasks: set[asyncio.Task[Any]] = set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        there, to = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.sleep(seconds)
            await asyncio.gather(copy(there, writer), copy(reader, to))
        finally:
            for each in (writer, to):
                each.close()
                with contextlib.suppress(OSError):
                    await each.wait_closed()

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
        yield f"tls://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
