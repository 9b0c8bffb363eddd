"""Sends requests to hosts over the bus, and waits for the answer."""

from __future__ import annotations

import asyncio
import itertools
from typing import Optional, Protocol

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error

from agent.config.fleet_limits import FLEET
from agent.fleet.bus.connection import BusConnection


class NobodyThere(Exception):
    """No host of that name is connected."""


class NoAnswer(Exception):
    """The host's answer did not come in time, or the bus cannot be used."""


class Caller(Protocol):
    """Sends requests to hosts."""

    @property
    def ready(self) -> bool:
        """Whether there is a connection."""

    async def ask(self, subject: str, message: bytes) -> bytes:
        """The answer to a message. Raises NobodyThere and NoAnswer."""


# The header by which a server says that nobody is subscribed (NATS protocol, no responders).
_STATUS, _NOBODY = "Status", "503"


class BusCaller:
    """Sends requests over the bus; `patience` is how long to wait for an answer (s).

    Each connection has one inbox, and each request a subject below it. nats-py's own `request` does
    the same with a name of 26 random characters and a task for each request.
    """

    def __init__(self, bus: BusConnection, patience: float = FLEET.wait_seconds) -> None:
        self._bus = bus
        self._patience = patience
        self._client: Optional[Client] = None
        self._inbox = ""
        self._numbers = itertools.count()
        self._waiting: dict[str, asyncio.Future[Optional[Msg]]] = {}

    @property
    def ready(self) -> bool:
        """Whether there is a connection."""
        return self._bus.client is not None

    async def listen(self, client: Client) -> None:
        """Subscribe to the inbox of a new connection. Raises Error."""
        inbox = client.new_inbox()
        await client.subscribe(
            f"{inbox}.*",
            cb=self._hear,
            pending_msgs_limit=FLEET.unread_answers,
            pending_bytes_limit=FLEET.bus_message_bytes,
        )
        self._client, self._inbox = client, inbox

    async def ask(self, subject: str, message: bytes) -> bytes:
        """The answer to a message. Raises NobodyThere and NoAnswer."""
        client = self._bus.client
        if client is None:
            raise NoAnswer("the bus is not reachable")
        try:
            if client is not self._client:
                await self.listen(client)
            answer = await self._ask(client, subject, message)
        except (Error, OSError) as error:
            raise NoAnswer(f"the bus failed ({type(error).__name__})") from None
        if answer is None:
            raise NoAnswer(f"no answer within {self._patience:.0f} s")
        if answer.headers and answer.headers.get(_STATUS) == _NOBODY:
            raise NobodyThere(subject)
        return bytes(answer.data)

    async def _ask(self, client: Client, subject: str, message: bytes) -> Optional[Msg]:
        """The answer, or None when nothing came in time. Raises Error."""
        reply = f"{self._inbox}.{next(self._numbers)}"
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Optional[Msg]] = loop.create_future()
        self._waiting[reply] = answer
        timer = loop.call_later(self._patience, _settle, answer, None)
        try:
            await client.publish(subject, message, reply=reply)
            return await answer
        finally:
            timer.cancel()
            del self._waiting[reply]

    async def _hear(self, message: Msg) -> None:
        """Take an answer; the second one to a request, or one that is late, is dropped."""
        answer = self._waiting.get(message.subject)
        if answer is not None:
            _settle(answer, message)


def _settle(answer: asyncio.Future[Optional[Msg]], message: Optional[Msg]) -> None:
    if not answer.done():
        answer.set_result(message)
