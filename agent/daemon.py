"""Wires the daemon up: config → journal → leases → listeners → run → drain."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import ssl
import sys
from collections.abc import MutableMapping
from typing import Any, Optional

from agent.audit.history import History
from agent.audit.lines import LineHandler, LineWriter
from agent.audit.record import Audit, Record
from agent.config.document import Problems
from agent.config.identity import Identity
from agent.config.settings import LIMITS, Config
from agent.host import attempts, listeners, tls
from agent.host.clock import SystemClock
from agent.host.memory import give_back
from agent.host.systemd import Notifier
from agent.leases.journal import Journal, is_in_memory
from agent.leases.journal_rows import Remembered
from agent.leases.store import LeaseStore
from agent.leases.turns import Turns
from agent.lookup.answers import Lookups
from agent.lookup.server import LookupServer
from agent.operations import Operator
from agent.sources.api import credentials
from agent.sources.api.credentials import Credentials
from agent.sources.api.http_server import HttpServer
from agent.sources.api.principal import Authenticator
from agent.sources.api.service import Service

log = logging.getLogger("sixtykeyd")


class Daemon:
    """One daemon, from its configuration to its end. What makes it is done before any listening.

    Raises:
        Problems: credentials or TLS files cannot be used.
    """

    def __init__(
        self, config: Config, identity: Identity, environ: MutableMapping[str, str]
    ) -> None:
        self._config = config
        self._identity = identity
        self._environ = environ
        self._notifier = Notifier(environ)
        self._clock = SystemClock()
        self._lines = LineWriter(1)
        self._audit = Audit(self._lines.write, self._clock, History())
        journal = None if config.journal is None else Journal(config.journal)
        in_memory = config.journal is not None and is_in_memory(config.journal)
        self._store = LeaseStore(config.keys, journal, self._clock, log.warning, in_memory)
        self._authenticator = Authenticator(self._credentials(), identity.region, self._clock)
        self._tls = self._tls_context()
        self._stopping = asyncio.Event()
        self._servers: list[HttpServer] = []
        self._network: Optional[HttpServer] = None
        self._listening: dict[str, str] = {}
        self._turns = Turns(self._clock)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain.

        Raises:
            listeners.CannotListen: a socket cannot be had.
        """
        _raise_descriptor_limit()
        sockets = listeners.all_listeners(self._config, self._environ)
        lookups = LookupServer(Lookups(self._store.table, self._clock, self._audit))
        service = self._service()
        remembered = await self._store.open()
        # Whoever logs in need not wait for all that was answered to be remembered.
        lookups.start(sockets["lookup"])
        self._remember(service, remembered)
        self._on_signals()
        self._servers.append(HttpServer(service.answer, self._refused))
        self._servers[0].start(sockets["push"])
        if "https" in sockets:
            self._network = HttpServer(service.answer, self._refused, self._tls)
            self._servers.append(self._network)
            self._network.start(sockets["https"])
        self._serving({name: sock.getsockname() for name, sock in sockets.items()})
        tending = [asyncio.create_task(self._watch()), asyncio.create_task(self._tend(service))]
        await self._stopping.wait()
        self._notifier.stopping()
        service.draining = True
        await asyncio.gather(*(server.stop() for server in self._servers))
        for task in tending:
            task.cancel()
        await lookups.stop()
        self._store.close()
        self._decided("stop")
        self._lines.flush()

    def _service(self) -> Service:
        operator = Operator(
            self._config,
            self._identity,
            self._store,
            self._clock,
            self._audit,
            self._turns,
            self._reload_files,
        )
        operator.listeners = self._listening
        return Service(
            self._config,
            self._identity,
            self._authenticator,
            self._store,
            self._clock,
            self._audit,
            self._turns,
            operator.actions(),
        )

    def _serving(self, addresses: dict[str, Any]) -> None:
        self._listening.update(lookup=addresses["lookup"], push=addresses["push"])
        where = "no network listener"
        if "https" in addresses:
            host, port = addresses["https"][:2]
            where = f"{host} port {port}"
            scheme = "http" if self._tls is None else "https"
            self._listening[scheme] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        log.info("serving %s: %s", self._identity.instance_id, where)
        self._decided("start")
        self._notifier.ready(f"Serving {self._identity.instance_id}, {where}")
        attempts.succeed(self._environ)

    def _on_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)

    def _reload(self) -> None:
        """SIGHUP: credentials and TLS files anew; if anything is wrong with them, none of it."""
        self._notifier.reloading()
        try:
            self._reload_files()
        except Problems as problems:
            for problem in problems.problems:
                log.error("not reloaded: %s", problem)
            self._decided("reload", "refused", "; ".join(problems.problems))
        else:
            self._decided("reload")
        self._notifier.ready(f"Serving {self._identity.instance_id}")

    def _reload_files(self) -> None:
        known, context = self._credentials(), self._tls_context()
        self._authenticator.credentials = known
        if self._network is not None:
            self._network.tls = context

    async def _watch(self) -> None:
        """What has to be done again and again, and waits for nothing."""
        while True:
            self._notifier.watchdog()
            self._lines.flush()
            self._audit.dropped(self._lines.take_dropped())
            watchdog = self._notifier.watchdog_interval or LIMITS.tend_seconds
            audit = LIMITS.audit_retry_seconds if self._lines.waiting else LIMITS.tend_seconds
            await asyncio.sleep(min(watchdog, audit))

    async def _tend(self, service: Service) -> None:
        """What waits for the journal: a disk that stands still must not cost the watchdog."""
        while True:
            await asyncio.sleep(LIMITS.tend_seconds)
            # In turn: a journal that is opened anew gets the table as no push is changing it.
            async with self._turns:
                remembered = await self._store.tend()
            self._remember(service, remembered)
            if any(server.crowd_has_gone() for server in self._servers):
                give_back()

    def _remember(self, service: Service, remembered: Remembered) -> None:
        if remembered.incomplete:
            service.lose()
        for signed, request_id in remembered.answered:
            service.remember(signed, request_id)
        for lease in remembered.leases:
            self._audit.history.pushed(lease)

    def _credentials(self) -> Credentials:
        if self._config.push.http is None:
            return Credentials(())
        return credentials.load(self._config.push.credentials)

    def _tls_context(self) -> Optional[ssl.SSLContext]:
        http = self._config.push.http
        return None if http is None or http.tls is None else tls.context(http.tls)

    def _refused(self, code: str) -> None:
        self._audit.count("http", code)

    def _decided(self, event: str, outcome: str = "done", reason: Optional[str] = None) -> None:
        self._audit.record(
            Record(event, outcome, instance=self._identity.instance_id, reason=reason)
        )


def _raise_descriptor_limit() -> None:
    """Room for every connection that the limits allow, where the host grants it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = LIMITS.descriptors if hard == resource.RLIM_INFINITY else min(LIMITS.descriptors, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run(config: Config, identity: Identity) -> None:
    """Run a daemon to its end. Raises Problems and CannotListen."""
    # The journal's thread must not wait 5 ms (Python's default) for the interpreter, four times for
    # each push, while requests keep the event loop busy.
    sys.setswitchinterval(LIMITS.switch_seconds)

    async def run_daemon() -> None:
        await Daemon(config, identity, os.environ).run()

    # What is said on stderr waits for nobody either.
    logging.getLogger().handlers = [LineHandler(2)]
    asyncio.run(run_daemon())
