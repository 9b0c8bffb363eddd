"""Wires a gateway up: configuration → bus → doors → listener → run → drain."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import ssl
from collections.abc import MutableMapping
from typing import Optional

from nats.aio.client import Client

from agent.audit.history import NoHistory
from agent.audit.lines import LineHandler
from agent.audit.log import AuditLog
from agent.audit.record import Record
from agent.config.document import Problems
from agent.config.identity import Identity
from agent.config.settings import Config, Push
from agent.fleet.bus import jwt
from agent.fleet.bus.access import Access
from agent.fleet.bus.caller import BusCaller
from agent.fleet.bus.connection import BusConnection
from agent.fleet.directory.directory import Directory
from agent.fleet.directory.trust import Issuers
from agent.fleet.gateway.door import GatewayDoor
from agent.fleet.gateway.enrolment_door import PREFIX, EnrolmentDoor
from agent.fleet.gateway.explain import Explainer
from agent.fleet.gateway.files import FleetFiles
from agent.fleet.gateway.intake import BusIntake
from agent.fleet.gateway.peers import Peers
from agent.fleet.gateway.readiness import BusReadiness, FreeTurns
from agent.fleet.gateway.replay import AnsweredPushes
from agent.fleet.gateway.scrape import Scrape
from agent.fleet.gateway.settings import GatewayConfig
from agent.fleet.home.enrolment import Enrolment
from agent.fleet.home.registry import SqliteRegistry
from agent.host import listeners, tls
from agent.host.clock import SystemClock
from agent.host.serving import end
from agent.host.systemd import Notifier, listen_fds
from agent.sources.api import credentials
from agent.sources.api.http_server import HttpServer
from agent.sources.api.message import Request, Response
from agent.sources.api.principal import Authenticator
from agent.sources.context import Context
from agent.sources.steps import Steps
from agent.sources.throttle import Throttle

log = logging.getLogger("sixtykeyd")


class Gateway:
    """One gateway, from its configuration to its end.

    Raises:
        Problems: a file cannot be used; every such file is named.
    """

    def __init__(self, config: GatewayConfig, environ: MutableMapping[str, str]) -> None:
        self._config = config
        self._environ = environ
        self._files = FleetFiles(config, environ.get("STATE_DIRECTORY"))
        known, self._tls = _check(config, self._files)
        self._notifier = Notifier(environ)
        self._clock = SystemClock()
        self._audit_log = AuditLog(self._clock, NoHistory())
        self._audit = self._audit_log.audit
        self._issuers = self._read_issuers()
        access = _access(config, self._files)
        name = _own_name(access)
        self._bus = BusConnection(access, name, self._listen, inbox=f"_INBOX.{name}")
        self._caller = caller = BusCaller(self._bus)
        self._directory = Directory(
            self._bus, caller, lambda: self._issuers, self._count_servers, self._clock
        )
        answered = AnsweredPushes()
        intake = BusIntake(
            config.keys,
            caller,
            lambda: self._issuers,
            self._directory.certificates,
            answered,
            self._clock,
        )
        steps = Steps(BusReadiness(caller), answered, intake)
        self._authenticator = Authenticator(known, config.region, self._clock)
        throttle = Throttle(config.rate, self._clock.boottime())
        certificates = self._directory.certificates
        explainer = Explainer(caller, lambda: self._issuers, certificates, self._clock)
        self._door = GatewayDoor(
            self._context(), steps, throttle, self._authenticator, self._directory, explainer
        )
        self._enrolment_door = self._make_enrolment_door()
        self._server = HttpServer(self._answer, self._count_refused, self._tls)
        self._scrape = Scrape(self._audit, self._door.latency, self._bus, self._directory)
        self._peers = Peers(self._files, name, self._follow_files)
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain. Raises listeners.CannotListen."""
        passed, http = listen_fds(self._environ), self._config.http
        sock = passed.get("https") or listeners.tcp(http.address, http.port)
        connecting = asyncio.create_task(self._bus.run())
        connecting.add_done_callback(self._end_with)
        watching = asyncio.create_task(self._watch())
        scraping = asyncio.create_task(self._scrape.run(self._config.metrics))
        asking = asyncio.create_task(self._peers.run())
        self._handle_signals()
        self._server.start(sock)
        host, port = sock.getsockname()[:2]
        log.info("serving pushes on %s port %s", host, port)
        self._record("start")
        self._notifier.ready(f"Serving pushes on {host} port {port}")
        await self._stopping.wait()
        self._notifier.stopping()
        self._door.drain()
        await self._server.stop()
        await self._audit_log.drain()
        await end(connecting, watching, scraping, asking)
        self._audit_log.end(Record("stop", "done"))

    async def _answer(self, request: Request) -> Response:
        if request.target.startswith(PREFIX):
            return await self._enrolment_door.answer(request)
        return await self._door.answer(request)

    async def _listen(self, client: Client) -> None:
        """Have an inbox on a new connection, by which servers tell a gateway from a host."""
        await self._caller.listen(client)

    def _context(self) -> Context:
        config = self._config
        push = Push(http=config.http, credentials=config.credentials, reference=config.reference)
        identity = Identity("gateway", "", config.region)
        # A gateway has no turns, and only the part of the configuration that its door needs.
        return Context(
            Config(push=push, keys=config.keys),
            identity,
            self._clock,
            self._audit,
            FreeTurns(self._clock),
        )

    def _make_enrolment_door(self) -> EnrolmentDoor:
        path, files = self._config.enrol.registry, self._files
        registry = None if path is None else SqliteRegistry(path)
        enrolment = Enrolment(files.fleet, registry, files.revoked)
        return EnrolmentDoor(enrolment, files.authority, files.state, self._audit, self._clock)

    def _read_issuers(self) -> Issuers:
        facts, signer = self._files.facts, self._files.issuer
        return Issuers(signer, facts.issuers, self._files.revoked())

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)

    def _reload(self) -> None:
        """On SIGHUP, reload credentials, TLS, and the fleet's files with the bus's servers.

        All of them, or none.
        """
        self._notifier.reloading()
        try:
            known, context = _check(self._config, self._files)
            access = _access(self._config, self._files)
            self._issuers = self._read_issuers()
        except Problems as problems:
            for problem in problems.problems:
                log.error("not reloaded: %s", problem)
            self._record("reload", "refused", "; ".join(problems.problems))
        else:
            self._authenticator.replace(known)
            self._bus.use(access)
            self._peers.hurry()
            if context is not None:
                self._server.renew_tls(context)
            self._record("reload")
        self._notifier.ready("Serving pushes")

    async def _watch(self) -> None:
        """Do the periodic work until cancelled."""
        while True:
            self._notifier.watchdog()
            pause = self._audit_log.tend()
            self._follow_files()
            await asyncio.sleep(min(pause, self._notifier.watchdog_interval or pause))

    def _follow_files(self) -> None:
        """Apply removals of hosts without a reload."""
        try:
            self._issuers = self._read_issuers()
        except Problems as problems:
            log.error("the fleet's files are not reloaded: %s", "; ".join(problems.problems))

    def _end_with(self, line: asyncio.Task[None]) -> None:
        if not line.cancelled():
            log.error("the connection to the bus has ended: %r", line.exception())
            self._stopping.set()

    def _count_servers(self) -> int:
        return len(self._config.bus.servers or self._files.facts.servers)

    def _count_refused(self, code: str) -> None:
        self._audit.count("http", code)

    def _record(self, event: str, outcome: str = "done", reason: Optional[str] = None) -> None:
        self._audit.record(Record(event, outcome, reason=reason))


def _check(
    config: GatewayConfig, fleet: FleetFiles
) -> tuple[credentials.Credentials, Optional[ssl.SSLContext]]:
    """Load credentials and TLS. Raises Problems, with every problem of any file."""
    problems = fleet.check()
    known, context = credentials.Credentials(()), None
    try:
        known = credentials.load(config.credentials, config.keys)
    except Problems as found:
        problems += found.problems
    try:
        context = None if config.http.tls is None else tls.context(config.http.tls, "http.tls")
    except Problems as found:
        problems += found.problems
    if problems:
        raise Problems(problems)
    return known, context


def _access(config: GatewayConfig, fleet: FleetFiles) -> Access:
    known = tuple(server.url for server in fleet.facts.servers)
    access = Access(config.bus.servers or known, config.bus.ca, config.bus.identity)
    try:
        access.context()
        access.read()
    except (OSError, ValueError) as error:
        raise Problems([f"bus: {error}"]) from None
    return access


def _own_name(access: Access) -> str:
    """This gateway's name on the bus, from its token."""
    return jwt.name_of(access.read()[0])


def run(config: GatewayConfig) -> None:
    """Run a gateway to its end. Raises Problems and CannotListen."""

    async def run_gateway() -> None:
        gateway = Gateway(config, os.environ)
        # What exists by now stays. Without this, each garbage collection would examine it again,
        # for some 20 ms in which every push waits.
        gc.freeze()
        await gateway.run()

    logging.getLogger().handlers = [LineHandler(2, "sixtykey-gateway")]
    asyncio.run(run_gateway())
