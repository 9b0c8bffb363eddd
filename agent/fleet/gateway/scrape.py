"""GET /metrics, on a separate listener: the public endpoint shows no figures."""

from __future__ import annotations

import asyncio
import logging
from typing import Optional

from agent import __version__
from agent.audit.record import Audit
from agent.config.fleet_limits import FLEET
from agent.fleet.caller import NoAnswer
from agent.fleet.directory import Directory
from agent.fleet.gateway import metrics
from agent.fleet.gateway.metrics import Histogram
from agent.fleet.gateway.settings import Metrics
from agent.fleet.line import Line
from agent.host import listeners
from agent.sources.api.http_server import HttpServer
from agent.sources.api.message import Request, Response
from agent.sources.api.operators import is_scrape

log = logging.getLogger("sixtykeyd")


class Scrape:
    """Answers Prometheus, and counts the hosts regularly."""

    def __init__(self, audit: Audit, latency: Histogram, line: Line, directory: Directory) -> None:
        self._audit = audit
        self._latency = latency
        self._line = line
        self._directory = directory
        self._hosts: Optional[int] = None

    async def run(self, where: Optional[Metrics]) -> None:
        """Serve until cancelled. An unusable address is logged, and does not stop pushes."""
        if where is None:
            return
        server = HttpServer(self._answer, lambda code: self._audit.count("http", code))
        try:
            server.start(listeners.tcp(where.address, where.port))
        except listeners.CannotListen as error:
            log.error("no metrics: %s", error)
            return
        try:
            while True:
                await self._count()
                await asyncio.sleep(FLEET.count_seconds)
        finally:
            await server.stop()

    async def _count(self) -> None:
        try:
            await asyncio.wait_for(self._line.connected.wait(), FLEET.count_seconds)
            self._hosts = await self._directory.count()
        except (NoAnswer, asyncio.TimeoutError):
            self._hosts = None

    async def _answer(self, request: Request) -> Response:
        if not is_scrape(request):
            return Response(404, {"error": "there is GET /metrics, and nothing else"})
        bus = {
            "connected": float(self._line.client is not None),
            "connections": float(self._line.connections),
        }
        if self._hosts is not None:
            bus["hosts"] = float(self._hosts)
        text = metrics.text(__version__, self._audit.counts, self._latency, bus)
        return Response(200, {}, text=text)
