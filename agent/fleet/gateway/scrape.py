"""GET /metrics, on a separate listener: the public endpoint shows no figures."""

from __future__ import annotations

import asyncio
import logging
from typing import Optional

from agent import __version__
from agent.audit.record import Audit
from agent.config.fleet_limits import FLEET
from agent.fleet.bus.caller import NoAnswer
from agent.fleet.bus.connection import BusConnection
from agent.fleet.directory.directory import Directory
from agent.fleet.gateway import metrics
from agent.fleet.gateway.metrics import Histogram
from agent.fleet.gateway.settings import Metrics
from agent.host import listeners
from agent.sources.api.http_server import HttpServer
from agent.sources.api.message import Request, Response
from agent.sources.api.operators import is_scrape

log = logging.getLogger("sixtykeyd")


class Scrape:
    """Answers Prometheus, and counts the hosts regularly."""

    def __init__(
        self, audit: Audit, latency: Histogram, bus: BusConnection, directory: Directory
    ) -> None:
        self._audit = audit
        self._latency = latency
        self._bus = bus
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
            await asyncio.wait_for(self._bus.connected.wait(), FLEET.count_seconds)
            self._hosts = await self._directory.count()
        except (NoAnswer, asyncio.TimeoutError):
            self._hosts = None

    async def _answer(self, request: Request) -> Response:
        if not is_scrape(request):
            return Response(404, {"error": "there is GET /metrics, and nothing else"})
        figures = {
            "connected": float(self._bus.client is not None),
            "connections": float(self._bus.connections),
        }
        if self._hosts is not None:
            figures["hosts"] = float(self._hosts)
        text = metrics.text(__version__, self._audit.counts, self._latency, figures)
        return Response(200, {}, text=text)
