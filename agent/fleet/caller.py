"""Sends requests to hosts over the bus, and waits for the answer."""

from __future__ import annotations

from typing import Protocol

from nats.errors import Error, NoRespondersError
from nats.errors import TimeoutError as NothingCame

from agent.config.fleet_limits import FLEET
from agent.fleet.line import Line


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


class BusCaller:
    """Sends requests over a line; `patience` is how long to wait for an answer (s)."""

    def __init__(self, line: Line, patience: float = FLEET.wait_seconds) -> None:
        self._line = line
        self._patience = patience

    @property
    def ready(self) -> bool:
        """Whether there is a connection."""
        return self._line.client is not None

    async def ask(self, subject: str, message: bytes) -> bytes:
        """The answer to a message. Raises NobodyThere and NoAnswer."""
        client = self._line.client
        if client is None:
            raise NoAnswer("the bus is not reachable")
        try:
            return bytes((await client.request(subject, message, timeout=self._patience)).data)
        except NoRespondersError:
            raise NobodyThere(subject) from None
        except NothingCame:
            raise NoAnswer(f"nothing came within {self._patience:.0f} s") from None
        except (Error, OSError) as error:
            raise NoAnswer(f"the bus failed ({type(error).__name__})") from None
