"""Wires the daemon up: config → journal → leases → listeners → run → drain."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Optional

from agent import __version__
from agent.audit.history import History
from agent.audit.lines import LineHandler
from agent.audit.log import AuditLog
from agent.audit.record import Record
from agent.config.document import Problems
from agent.config.identity import Identity
from agent.config.limits import LIMITS
from agent.config.settings import Config
from agent.host import listeners, starts
from agent.host.clock import SystemClock
from agent.host.memory import give_back
from agent.host.systemd import Notifier
from agent.leases.journal import Journal
from agent.leases.journal_file import is_in_memory
from agent.leases.store import LeaseStore
from agent.leases.turns import Turns
from agent.lookup import handouts
from agent.lookup.admission import Admissions
from agent.lookup.answers import Lookups
from agent.lookup.server import LookupServer
from agent.operations import Operator
from agent.reloading import Reloader, load_credentials, load_tls
from agent.sources.api.door import Door
from agent.sources.api.host_door import HostDoor
from agent.sources.api.http_server import HttpServer
from agent.sources.api.local_door import LocalDoor
from agent.sources.api.principal import Authenticator
from agent.sources.context import Context
from agent.sources.feed.roles import ec2_role, fleet_role
from agent.sources.intake import Intake
from agent.sources.readiness import Readiness
from agent.sources.replay import ReplayMemory
from agent.sources.steps import Steps
from agent.sources.throttle import Throttle

if TYPE_CHECKING:
    from agent.sources.feed.server import FeedServer

log = logging.getLogger("sixtykeyd")


class Daemon:
    """One daemon, from its configuration to its end. It is complete before it listens.

    Raises:
        Problems: credentials or TLS files cannot be used.
    """

    def __init__(
        self, config: Config, identity: Identity, environ: MutableMapping[str, str]
    ) -> None:
        clock = SystemClock()
        self._config = config
        self._environ = environ
        self._notifier = Notifier(environ)
        self._audit_log = AuditLog(clock, History())
        self._audit = self._audit_log.audit
        self._context = Context(config, identity, clock, self._audit, Turns(clock))
        journal = None if config.journal is None else Journal(config.journal)
        in_memory = config.journal is not None and is_in_memory(config.journal)
        memory = ReplayMemory(clock)
        self._store = LeaseStore(config.keys, journal, memory, clock, log.warning, in_memory)
        self._intake = Intake(self._context, self._store)
        readiness = Readiness(self._context.turns, self._store)
        self._steps = Steps(readiness, memory, self._intake)
        self._authenticator = Authenticator(load_credentials(config), identity.region, clock)
        self._tls = load_tls(config.push)
        self._ec2 = ec2_role(self._context, self._steps)
        fleet = fleet_role(self._context, self._steps, __version__)
        roles = {"ec2": self._ec2, "fleet": fleet}
        self._roles = {name: role for name, role in roles.items() if role is not None}
        folder = os.path.join(os.path.dirname(config.lookup.socket), handouts.FOLDER)
        self._handouts = handouts.HandOuts(folder)
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain.

        Raises:
            listeners.CannotListen: a socket cannot be opened.
        """
        _raise_descriptor_limit()
        sockets = listeners.all_listeners(self._config, self._environ)
        lookups = self._lookup_server()
        self._open_handouts()
        self._intake.explain(await self._store.open())
        # Serve lookups before rebuilding the replay memory; pushes wait in the kernel meanwhile.
        lookups.start(sockets["lookup"])
        await self._store.load_marks()
        doors, servers = self._open_doors(sockets)
        feeds = self._serve_sources(sockets)
        self._announce(sockets)
        tending = [asyncio.create_task(self._watch()), asyncio.create_task(self._tend(servers))]
        await self._stopping.wait()
        self._notifier.stopping()
        for door in doors:
            door.drain()
        await asyncio.gather(*(each.stop() for each in feeds), *(each.stop() for each in servers))
        # Lookups are still answered, so a slow log delays no login.
        await self._audit_log.drain()
        for task in tending:
            task.cancel()
        await lookups.stop()
        self._store.close()
        instance = self._context.identity.instance_id
        self._audit_log.end(Record("stop", "done", instance=instance))

    def _open_handouts(self) -> None:
        """Make the folder of hand-outs. Without it one-time keys are not given; all others are.

        If the host's keys are not one-time, it is made when the first one-time key needs it.
        """
        if self._config.keys.uses != "once" and not self._handouts.is_there:
            return
        try:
            self._handouts.open()
        except OSError as error:
            log.warning("one-time keys are not given: %s", error)

    def _lookup_server(self) -> LookupServer:
        clock, audit = self._context.clock, self._audit
        return LookupServer(
            Lookups(self._store.table, clock, audit, self._handouts, self._ec2),
            Admissions(self._store, self._handouts, clock, audit),
        )

    def _open_doors(
        self, sockets: Mapping[str, socket.socket]
    ) -> tuple[list[Door], list[HttpServer]]:
        """Serve the push socket, and the network where there is a listener for it."""
        throttle = Throttle(self._config.push.rate, self._context.clock.boottime())
        door = HostDoor(self._context, self._steps, throttle, self._authenticator)
        network = HttpServer(door.answer, self._count_refused, self._tls)
        reloader = Reloader(self._config, self._authenticator, network)
        sources = {name: role.describe for name, role in self._roles.items()}
        operator = Operator(
            self._context, self._store, reloader.reload, _addresses(sockets, self._tls), sources
        )
        local_door = LocalDoor(self._context, self._steps, throttle, operator.actions())
        local = HttpServer(local_door.answer, self._count_refused)
        self._handle_signals(reloader)
        local.start(sockets["push"])
        if "https" not in sockets:
            return [local_door], [local]
        network.start(sockets["https"])
        return [local_door, door], [local, network]

    def _serve_sources(self, sockets: Mapping[str, socket.socket]) -> list[FeedServer]:
        """Serve the source socket if there is one; otherwise its code is not loaded."""
        if "source" not in sockets:
            return []
        from agent.sources.feed.server import FeedServer

        feed = FeedServer(self._roles)
        feed.start(sockets["source"])
        return [feed]

    def _announce(self, sockets: Mapping[str, socket.socket]) -> None:
        instance, where = self._context.identity.instance_id, "no network listener"
        if "https" in sockets:
            host, port = sockets["https"].getsockname()[:2]
            where = f"{host} port {port}"
        log.info("serving %s: %s", instance, where)
        self._record("start")
        self._notifier.ready(f"Serving {instance}, {where}")
        starts.succeed(self._environ)

    def _handle_signals(self, reloader: Reloader) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)

        loop.add_signal_handler(signal.SIGHUP, self._start_reload, reloader)

    def _start_reload(self, reloader: Reloader) -> None:
        task = asyncio.get_running_loop().create_task(self._reload(reloader))
        # The loop holds its tasks weakly: without this one might be collected before it ends.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload(self, reloader: Reloader) -> None:
        """SIGHUP: reload credentials and TLS files: all of them, or none if one is invalid."""
        self._notifier.reloading()
        try:
            await reloader.reload()
        except Problems as problems:
            for problem in problems.problems:
                log.error("not reloaded: %s", problem)
            self._record("reload", "refused", "; ".join(problems.problems))
        else:
            self._record("reload")
        self._notifier.ready(f"Serving {self._context.identity.instance_id}")

    async def _watch(self) -> None:
        """Repeat the work that never waits: watchdog, log, sums."""
        while True:
            self._notifier.watchdog()
            pause = self._audit_log.tend()
            await asyncio.sleep(min(pause, self._notifier.watchdog_interval or pause))

    async def _tend(self, servers: Sequence[HttpServer]) -> None:
        """Repeat the work that may wait for the journal, apart from the watchdog's."""
        while True:
            await asyncio.sleep(LIMITS.tend_seconds)
            # With the turn held, no push changes the table while it is written to a new journal.
            async with self._context.turns:
                self._intake.explain(await self._store.tend())
            self._handouts.tend()
            if any(server.crowd_has_gone() for server in servers):
                give_back()

    def _count_refused(self, code: str) -> None:
        self._audit.count("http", code)

    def _record(self, event: str, outcome: str = "done", reason: Optional[str] = None) -> None:
        instance = self._context.identity.instance_id
        self._audit.record(Record(event, outcome, instance=instance, reason=reason))


def _addresses(
    sockets: Mapping[str, socket.socket], context: Optional[ssl.SSLContext]
) -> dict[str, str]:
    """Where each socket listens, by name: a path, or an address and a port."""
    names = ("lookup", "push", "source")
    found = {name: sockets[name].getsockname() for name in names if name in sockets}
    if "https" in sockets:
        host, port = sockets["https"].getsockname()[:2]
        scheme = "http" if context is None else "https"
        found[scheme] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return found


def _raise_descriptor_limit() -> None:
    """Raise the limit of descriptors to what the connection limits need, if the host allows it."""
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

    # What was imported stays: a full collection need not look at it, which takes 10 ms each time.
    gc.freeze()
    # Writing to stderr must not block either.
    logging.getLogger().handlers = [LineHandler(2)]
    asyncio.run(run_daemon())
