"""The Unix-socket server that answers the AuthorizedKeysCommand helper.

The client sends `USER[ SP FINGERPRINT]LF`, and is answered with zero or more authorized_keys lines
and the end of the stream. Anything malformed is closed without a byte. A lookup reads the table in
memory and nothing else: no disk, no network, no lock.
"""

from __future__ import annotations

import asyncio
import re
import socket
from typing import Callable, Optional

from agent.audit import Audit, Record
from agent.clock import Clock
from agent.config import LIMITS
from agent.leases import LeaseTable
from agent.peercred import peer_uid

# A user name is whatever sshd says (%u): the host's own names need not fit the API's pattern. The
# fingerprint is sshd's %f, of either FingerprintHash (sshd_config(5)).
_LINE = re.compile(
    rb"([^\x00-\x20\x7f]{1,255})"
    rb"(?: (SHA256:[A-Za-z0-9+/]{43}|MD5:[0-9a-f]{2}(?::[0-9a-f]{2}){15}))?\n"
)


class Malformed(ValueError):
    """Not a lookup; whoever sent it gets nothing."""


def parse(line: bytes) -> tuple[str, Optional[str]]:
    """The OS user, and the fingerprint if there is one. Raises Malformed."""
    match = _LINE.fullmatch(line)
    if match is None or len(line) > LIMITS.lookup_bytes:
        raise Malformed
    os_user, fingerprint = match.groups()
    named = None if fingerprint is None else fingerprint.decode()
    return os_user.decode("utf-8", "surrogateescape"), named


class Lookups:
    """Answers lookups from the table, and audits those that matter."""

    def __init__(self, table: LeaseTable, clock: Clock, audit: Audit) -> None:
        self._table = table
        self._clock = clock
        self._audit = audit

    def answer(self, line: bytes, uid: int) -> bytes:
        """The authorized_keys lines for a lookup line. Raises Malformed.

        A login of a user for whom nothing was pushed is counted and not recorded: it happens with
        every ordinary login of the host.
        """
        os_user, fingerprint = parse(line)
        given = [lease for lease in self._table.of(os_user) if lease.is_for(fingerprint)]
        for lease in given:
            self._audit.record(
                Record(
                    "lookup",
                    "given",
                    request_id=lease.request_id,
                    principal=f"uid:{uid}",
                    os_user=os_user,
                    key_type=lease.key.type,
                    fingerprint=lease.key.fingerprint,
                )
            )
        if not given:
            self._explain(os_user, fingerprint, uid)
        return "".join(lease.line for lease in given).encode()

    def _explain(self, os_user: str, fingerprint: Optional[str], uid: int) -> None:
        history, now = self._audit.history, self._clock.boottime()
        reason = history.explain(os_user, fingerprint, now)
        if reason is None:
            self._audit.count("lookup", "none")
            history.asked(os_user, fingerprint, now)
            return
        record = Record(
            "lookup",
            "none",
            principal=f"uid:{uid}",
            os_user=os_user,
            fingerprint=fingerprint,
            reason=reason,
        )
        self._audit.record(record)


class LookupConnection(asyncio.Protocol):
    """One helper: a line in, lines out, and the end."""

    def __init__(self, lookups: Lookups, connections: set[LookupConnection]) -> None:
        self._lookups = lookups
        self._connections = connections
        self._inbox = b""
        self._uid = -1
        self._transport: Optional[asyncio.Transport] = None
        self._deadline: Optional[asyncio.TimerHandle] = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A helper asks; it has a second for it, and so has its reading of the answer."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what asyncio promises
        self._transport = transport
        self._uid = peer_uid(transport.get_extra_info("socket"))
        if len(self._connections) >= LIMITS.lookup_connections:
            # The oldest gives way: a helper that is alive has long had its answer.
            min(self._connections, key=lambda other: other.when).abort()
        self._connections.add(self)
        self._deadline = asyncio.get_running_loop().call_later(LIMITS.lookup_seconds, self.abort)

    @property
    def when(self) -> float:
        """When this connection ends at the latest (the event loop's time, s)."""
        return self._deadline.when() if self._deadline is not None else 0.0

    def data_received(self, data: bytes) -> None:
        """Part of the line, or all of it."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._inbox += data
        if b"\n" not in self._inbox and len(self._inbox) < LIMITS.lookup_bytes:
            return
        try:
            transport.write(self._lookups.answer(self._inbox, self._uid))
        except Malformed:
            pass
        finally:
            transport.close()

    def eof_received(self) -> bool:
        """The helper sends no more; without a whole line, there is nothing to answer."""
        return False

    def connection_lost(self, exc: Optional[Exception]) -> None:  # noqa: ARG002
        """It is over."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._connections.discard(self)
        self._transport = None

    def abort(self) -> None:
        """End it now."""
        self._connections.discard(self)
        if self._transport is not None:
            self._transport.abort()


class LookupServer:
    """Serves the lookup socket."""

    def __init__(self, lookups: Lookups) -> None:
        self._lookups = lookups
        self._connections: set[LookupConnection] = set()
        self._server: Optional[asyncio.AbstractServer] = None

    async def start(self, listener: socket.socket) -> None:
        """Answer on `listener` until `stop`."""
        connection: Callable[[], LookupConnection] = lambda: LookupConnection(  # noqa: E731
            self._lookups, self._connections
        )
        self._server = await asyncio.get_running_loop().create_unix_server(
            connection, sock=listener, backlog=LIMITS.backlog
        )

    async def stop(self) -> None:
        """Accept no more; whoever was accepted is answered, if it asks within its second."""
        if self._server is not None:
            self._server.close()
        loop = asyncio.get_running_loop()
        end = loop.time() + LIMITS.lookup_seconds
        # At least one turn: what was accepted in the last one is not among the connections yet.
        await asyncio.sleep(LIMITS.drain_poll_seconds)
        while self._connections and loop.time() < end:
            await asyncio.sleep(LIMITS.drain_poll_seconds)
        for connection in list(self._connections):
            connection.abort()
