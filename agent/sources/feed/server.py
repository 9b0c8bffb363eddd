"""The source socket's server: checks who may be which source, and accepts one of each.

The kernel says who the peer is (SO_PEERCRED). Nothing that a source does delays a lookup or a push:
writes to it never block, and it is dropped if it does not read.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
import socket
from collections.abc import Mapping
from typing import Callable, Optional, Protocol

from agent.config.limits import LIMITS
from agent.host.peercred import peer_uid
from agent.sources.feed.members import MAX_BYTES, Violation
from agent.sources.feed.messages import (
    ROLES,
    FromDaemon,
    FromSource,
    Hello,
    encode,
    from_source,
)

log = logging.getLogger("sixtykeyd")


class Role(Protocol):
    """The daemon's side of a kind of source; one source at a time has a role."""

    def attach(self, link: Link) -> None:
        """A source has said hello. The previous one, if any, has been detached."""

    def detach(self) -> None:
        """The source has disconnected, or was dropped."""

    async def take(self, message: FromSource) -> None:
        """Process a source's message. Raises Violation if it is not allowed."""


class Link:
    """A connected source. `uid` is its user's, according to the kernel."""

    def __init__(self, writer: asyncio.StreamWriter, uid: int) -> None:
        self._writer = writer
        self.uid = uid
        self.role: Optional[str] = None

    def send(self, message: FromDaemon) -> None:
        """Send a message. Never blocks: a source that does not read is dropped."""
        self._writer.write(encode(message))
        if self._writer.transport.get_write_buffer_size() > LIMITS.source_backlog_bytes:
            self.drop("it does not read its messages")

    def drop(self, why: str) -> None:
        """End the connection, and log the reason."""
        if not self._writer.transport.is_closing():
            log.warning("source %s (uid %d): dropped: %s", self.role or "unnamed", self.uid, why)
            self._writer.transport.abort()


def allowed_roles(uid: int) -> tuple[str, ...]:
    """The roles of a user: each source has its own user; root and the daemon's may have any."""
    if uid in {0, os.geteuid()}:
        return ROLES
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return ()
    return tuple(role for role in ROLES if name == f"sixtykey-{role}")


class FeedServer:
    """Serves the source socket. `roles`: those that this host is configured for, by name."""

    def __init__(
        self,
        roles: Mapping[str, Role],
        allowed: Callable[[int], tuple[str, ...]] = allowed_roles,
        hello_seconds: float = LIMITS.hello_seconds,
    ) -> None:
        self._roles = roles
        self._allowed = allowed
        self._hello_seconds = hello_seconds
        self._listener: Optional[socket.socket] = None
        # Every connection's task, the oldest first, and its link once it has one.
        self._links: dict[asyncio.Task[None], Optional[Link]] = {}
        # The current source of each role.
        self._live: dict[str, Link] = {}

    def start(self, listener: socket.socket) -> None:
        """Serve `listener` until `stop`."""
        self._listener = listener
        listener.setblocking(False)
        listener.listen(LIMITS.source_connections)
        self._listen()

    async def stop(self) -> None:
        """Accept no more, and disconnect every source; they reconnect to the next daemon."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        tasks = list(self._links)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _listen(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        if self._listener is None:
            return
        try:
            sock = self._listener.accept()[0]
        except (BlockingIOError, ConnectionError):
            return
        except OSError as error:
            # No descriptor left (accept(2)): sources wait, and this retries after a pause.
            log.warning("cannot accept a source: %s", error.strerror)
            loop.remove_reader(self._listener)
            loop.call_later(LIMITS.accept_retry_seconds, self._listen)
            return
        sock.setblocking(False)
        self._make_room()
        task = loop.create_task(self._serve(sock))
        self._links[task] = None
        task.add_done_callback(self._links.pop)

    def _make_room(self) -> None:
        """Drop the oldest connection without a role; the sources stay."""
        unnamed = [task for task, link in self._links.items() if link is None or not link.role]
        if len(self._links) >= LIMITS.source_connections:
            unnamed[0].cancel()

    async def _serve(self, sock: socket.socket) -> None:
        try:
            uid = peer_uid(sock)
            reader, writer = await asyncio.open_unix_connection(sock=sock, limit=MAX_BYTES)
        except BaseException as error:
            sock.close()
            if isinstance(error, OSError):
                return
            raise
        link = Link(writer, uid)
        task = asyncio.current_task()
        if task is not None:
            self._links[task] = link
        try:
            await self._converse(reader, link)
        except (Violation, asyncio.TimeoutError) as error:
            link.drop(str(error) or "it has not said hello in time")
        except ValueError:
            link.drop(f"a line of more than {MAX_BYTES} bytes")
        except OSError:
            pass  # it has disconnected
        except Exception:  # a bug must be logged
            log.exception("source %s (uid %d) failed", link.role, uid)
        finally:
            self._forget(link)
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, link: Link) -> None:
        """Read its hello, and then its messages, until it ends. Raises Violation, OSError."""
        role = self._greet(await asyncio.wait_for(reader.readline(), self._hello_seconds), link)
        while line := await reader.readline():
            # Let lookups run after each message, so that a flood of messages cannot delay them.
            await asyncio.sleep(0)
            if link.role is None or self._live.get(link.role) is not link:
                return  # a newer connection has replaced this one
            message = from_source(line)
            if isinstance(message, Hello):
                raise Violation("it says hello twice")
            await role.take(message)

    def _greet(self, line: bytes, link: Link) -> Role:
        """The source's role. Raises Violation: it may not have that role here."""
        hello = from_source(line)
        if not isinstance(hello, Hello):
            raise Violation("it has not said hello")
        if hello.role not in self._allowed(link.uid):
            raise Violation(f"it may not be {hello.role}")
        if hello.role not in self._roles:
            raise Violation(f"this host is not configured for {hello.role}")
        before = self._live.get(hello.role)
        if before is not None:
            self._forget(before)
            before.drop("another connection has replaced it")
        link.role = hello.role
        self._live[hello.role] = link
        self._roles[hello.role].attach(link)
        log.info("source %s (uid %d): connected", hello.role, link.uid)
        return self._roles[hello.role]

    def _forget(self, link: Link) -> None:
        """Detach its role, unless another source has taken it."""
        if link.role is not None and self._live.get(link.role) is link:
            del self._live[link.role]
            self._roles[link.role].detach()
