"""The HTTP shell in this process, on a real socket, with limits short enough to be tested."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Coroutine
from typing import Any, Callable, Optional

import pytest

from agent.config.limits import LIMITS, Limits
from agent.sources.api import http, http_server, http_tls, wire
from agent.sources.api.http_server import HttpServer
from agent.sources.api.message import Request, Response, success
from tests.parts.part import Part
from tests.parts.raw import Address, Raw

PLAIN = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
Answering = Callable[[Request], Awaitable[Response]]


def short(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Limits:
    """Set limits in every module of the shell that a test can reach quickly."""
    limits = LIMITS._replace(
        **{
            "request_seconds": 0.4,
            "idle_seconds": 0.4,
            "linger_seconds": 0.4,
            "accept_retry_seconds": 0.05,
            "drain_seconds": 2.0,
            "connections": 8,
            "connections_per_source": 4,
            **changes,
        },
    )
    for module in (http, http_server, http_tls, wire):
        monkeypatch.setattr(module, "LIMITS", limits)
    return limits


async def yes(request: Request) -> Response:
    """Answer any request with the reference's success response."""
    assert request.headers
    return success("id", {"RequestId": "id", "Success": True})


class Serving(Part):
    """An HttpServer in its own thread; an unhandled error in its loop fails the test at the end."""

    def __init__(
        self,
        answer: Answering = yes,
        *,
        tls: Optional[ssl.SSLContext] = None,
        unix: Optional[str] = None,
        send_buffer: Optional[int] = None,
    ) -> None:
        self.refused: list[str] = []
        self.requests: list[Request] = []
        self.problems: list[Any] = []
        self._answer = answer
        self._tls = tls
        self.listener = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        if send_buffer is not None:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self.listener.bind(unix or ("127.0.0.1", 0))
        self.listener.listen()
        self.address: Address = self.listener.getsockname()
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda _, context: self.problems.append(context))
        self._thread = threading.Thread(target=self.loop.run_forever)
        self.server: HttpServer

    async def _noting(self, request: Request) -> Response:
        self.requests.append(request)
        return await self._answer(request)

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine in the server's loop and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def connect(self, **options: Any) -> Raw:
        """A connection to the server."""
        return Raw(self.address, **options)

    def half(self) -> int:
        """The number of connections that have sent exactly the first byte of a request."""
        return sum(each._wire._inbox == b"P" for each in list(self.server._places))

    def start(self) -> None:
        """Start to accept connections."""

        async def starting() -> None:
            self.server = HttpServer(self._noting, self.refused.append, self._tls)
            self.server.start(self.listener)

        self.do(starting())

    def begin(self) -> None:
        """Start the thread and the server."""
        self._thread.start()
        self.start()

    def finish(self) -> None:
        """Stop the server, and check that its loop had no unhandled error."""
        self.do(self.server.stop())
        self.do(_settle())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
        assert self.problems == []


async def _settle() -> None:
    """Wait until every task has ended, so that unhandled errors are reported."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    if others:
        await asyncio.wait(others, timeout=5)
    await asyncio.sleep(0)
