"""One persistent HTTP/1.1 connection to the metadata service. h11 parses; this sets the limits.

It is plain HTTP to a link-local address: no redirects, no proxies, no name look-ups, no TLS.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Optional
from urllib.parse import urlsplit

import h11

from agent.config.limits import LIMITS

# Characters of a problem that are reported.
_WORDS = 200


class Away(Exception):
    """The metadata service did not answer, or its answer is unusable; says how, in few words.

    h11 quotes whole lines, and a message to the daemon has a limit.
    """

    def __init__(self, words: str) -> None:
        super().__init__(words if len(words) <= _WORDS else f"{words[:_WORDS]}...")


@dataclass(frozen=True)
class Answer:
    """A response. `complete` is False when the body was cut at the limit."""

    status: int
    body: bytes
    complete: bool = True


class Connection:
    """Sends requests one after the other, on one connection while the service keeps it open.

    Args:
        url: `http://` and an IP address, with a port or without.
        seconds: the time limit for one request, including the connection.
    """

    def __init__(self, url: str, seconds: float = LIMITS.metadata_seconds) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname or "", parts.port or 80
        self._host = parts.netloc
        self._seconds = seconds
        self._turn = asyncio.Lock()
        self._streams: Optional[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = None
        self._state = h11.Connection(h11.CLIENT)
        # Whether any byte of the current answer has arrived.
        self._heard = False

    async def request(self, method: str, path: str, headers: dict[str, str], most: int) -> Answer:
        """Send a request, and read at most `most` bytes of the body. Raises Away."""
        async with self._turn:
            try:
                return await asyncio.wait_for(self._ask(method, path, headers, most), self._seconds)
            except asyncio.TimeoutError:
                raise Away(f"no answer within {self._seconds:g} s") from None
            except OSError as error:
                raise Away(os.strerror(error.errno) if error.errno else str(error)) from None
            except h11.ProtocolError as error:
                raise Away(f"it does not speak HTTP: {error}") from None
            finally:
                self._keep_or_close()

    def close(self) -> None:
        """Close the connection; the next request makes a new one."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _ask(self, method: str, path: str, headers: dict[str, str], most: int) -> Answer:
        fresh = self._streams is None
        try:
            return await self._exchange(method, path, headers, most)
        except ConnectionError:
            # The server may close an idle connection at any time (RFC 9112 9.3.1): try once more.
            if fresh or self._heard:
                raise
            self.close()
            return await self._exchange(method, path, headers, most)

    async def _exchange(self, method: str, path: str, headers: dict[str, str], most: int) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
            self._state = h11.Connection(h11.CLIENT, max_incomplete_event_size=LIMITS.head_bytes)
        reader, writer = self._streams
        self._heard = False
        lines = [("Host", self._host), *headers.items()]
        request = h11.Request(method=method, target=path, headers=lines)
        writer.write(
            (self._state.send(request) or b"") + (self._state.send(h11.EndOfMessage()) or b"")
        )
        status, body = 0, b""
        while True:
            event = self._state.next_event()
            if event is h11.NEED_DATA:
                data = await reader.read(65536)
                if not data and not self._heard:
                    raise ConnectionResetError("it closed the connection without an answer")
                self._heard = True
                self._state.receive_data(data)
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > most:
                    return Answer(status, body[:most], complete=False)
            elif isinstance(event, h11.EndOfMessage):
                return Answer(status, body)
            elif not isinstance(event, h11.InformationalResponse):
                raise Away("it wants to speak another protocol")

    def _keep_or_close(self) -> None:
        """Keep the connection when both sides have finished the request; else close it."""
        if (self._state.our_state, self._state.their_state) == (h11.DONE, h11.DONE):
            self._state.start_next_cycle()
        else:
            self.close()
