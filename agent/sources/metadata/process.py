"""The process sixtykeyd-ec2: connects to the daemon's source socket, and answers its questions."""

from __future__ import annotations

import asyncio
import logging
from typing import Optional

from agent.config import patterns
from agent.config.limits import LIMITS
from agent.host.clock import Clock
from agent.sources.feed.members import MAX_BYTES, Violation
from agent.sources.feed.messages import (
    Answer,
    Ask,
    FromSource,
    Health,
    Hello,
    encode,
    from_daemon,
)
from agent.sources.metadata.http import Away
from agent.sources.metadata.refusal import Refused
from agent.sources.metadata.source import Source

log = logging.getLogger("sixtykeyd-ec2")


class Process:
    """Keeps one connection to the daemon, and checks the metadata service regularly.

    Made within the running event loop. `socket`: the path of the daemon's source socket.
    """

    def __init__(self, source: Source, socket: str, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._socket = socket
        self._writer: Optional[asyncio.StreamWriter] = None
        self._problem: Optional[str] = "the metadata service has not been asked yet"
        self._look = asyncio.Event()
        self._last_logged = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Run until cancelled."""
        watching = asyncio.create_task(self._watch())
        try:
            pause = LIMITS.reconnect_seconds
            while True:
                began, most = self._clock.boottime(), LIMITS.longest_reconnect_seconds
                connected = await self._serve_once()
                # The daemon keeps one connection per source. Two of these processes would replace
                # each other for ever, so a short connection makes the pause longer.
                brief = connected and self._clock.boottime() < began + most
                pause = min(pause * 2, most) if brief else LIMITS.reconnect_seconds
                await asyncio.sleep(pause)
        finally:
            for task in (watching, *self._tasks):
                task.cancel()

    async def _serve_once(self) -> bool:
        """Connect, and answer until the daemon goes away. Returns whether it was there."""
        try:
            reader, self._writer = await asyncio.open_unix_connection(self._socket, limit=MAX_BYTES)
        except OSError as error:
            self._log_change(f"no connection to {self._socket}: {error.strerror}")
            return False
        try:
            self._send(Hello("ec2"))
            self._source.forget_reported()
            self._send(_health(self._problem))
            self._log_change(f"connected to {self._socket}")
            while line := await reader.readline():
                self._take(line)
            self._log_change("the daemon has closed the connection")
        except (OSError, ValueError) as error:
            self._log_change(f"the connection to the daemon is given up: {error}")
        finally:
            self._writer.transport.abort()
            self._writer = None
        return True

    def _take(self, line: bytes) -> None:
        """Start a task that answers a line from the daemon. Raises Violation."""
        message = from_daemon(line)
        if not isinstance(message, Ask):
            raise Violation("it is not for this source")
        task = asyncio.get_running_loop().create_task(self._answer(message))
        # The event loop holds only weak references to tasks: keep one until the task ends.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, ask: Ask) -> None:
        try:
            patterns.os_user_current(ask.os_user)
            offers, refusals = await self._source.answer(ask.os_user, ask.fingerprint)
        except (Away, Refused) as error:
            self._look.set()
            self._send(Answer(ask.number, failed=str(error)))
        except Exception:  # a bug here must not leave the question unanswered
            log.exception("question %d failed", ask.number)
            self._send(Answer(ask.number, failed="a bug in sixtykeyd-ec2"))
        else:
            self._send(fitting(Answer(ask.number, offers, refusals)))

    async def _watch(self) -> None:
        """Check that the metadata is reachable, and prefetch what every answer needs."""
        rest = LIMITS.metadata_retry_seconds
        while True:
            try:
                await self._source.probe()
                self._change_health(None)
                await self._prepare()
                pause, rest = LIMITS.metadata_watch_seconds, LIMITS.metadata_retry_seconds
            except (Away, Refused) as error:
                self._change_health(str(error))
                pause, rest = rest, min(rest * 2, LIMITS.metadata_longest_retry_seconds)
            except Exception:  # a bug here must not end the watch silently
                log.exception("checking the metadata service failed")
                pause = LIMITS.metadata_watch_seconds
            try:
                await asyncio.wait_for(self._look.wait(), pause)
            except asyncio.TimeoutError:
                continue
            self._look.clear()

    async def _prepare(self) -> None:
        """Prefetch. A failure is not reported here: it shows again when a key is verified."""
        try:
            await self._source.prepare(LIMITS.metadata_ahead_of_end_seconds)
        except Refused as refused:
            self._log_change(f"keys that are pushed now are refused: {refused}")
        except Away as away:
            self._log_change(f"the signer cannot be fetched: {away}")

    def _change_health(self, problem: Optional[str]) -> None:
        if problem != self._problem:
            self._problem = problem
            log.warning("the metadata service: %s", problem or "usable")
            self._send(_health(problem))

    def _send(self, message: FromSource) -> None:
        """Send it, if the daemon is connected. Messages are few, and each is bounded."""
        if self._writer is not None:
            self._writer.write(encode(message))

    def _log_change(self, words: str) -> None:
        if words != self._last_logged:
            self._last_logged = words
            log.warning("%s", words)


def _health(problem: Optional[str]) -> Health:
    return Health(True) if problem is None else Health(False, problem)


def fitting(answer: Answer) -> Answer:
    """The answer, cut to fit into one line. The important entries come first."""
    offers, refusals = list(answer.offers), list(answer.refusals)[: LIMITS.metadata_refusals]
    while True:
        fits = Answer(answer.number, offers, refusals)
        try:
            encode(fits)
        except Violation:
            # Drop a quarter each time; one of each always fits.
            del offers[max(1, len(offers) * 3 // 4) :], refusals[max(1, len(refusals) * 3 // 4) :]
            continue
        return fits
