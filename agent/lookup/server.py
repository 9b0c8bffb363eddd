"""The Unix-socket server that answers the AuthorizedKeysCommand helper.

The client sends `USER[ SP FINGERPRINT]LF`, and is answered with zero or more authorized_keys lines,
an empty line as the end mark, and the end of the stream. Without the mark a daemon that was killed
would look like one that knows no key. Anything malformed is closed without a byte. A lookup reads
the table in memory and nothing else: no disk, no network, no lock. Only one that finds no live key
may wait for a source that is asked for more (feed/questions.py), half a second at most.

PAM's account program asks here too, in another form of line: see admission.py.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Optional

from agent.config.limits import LIMITS
from agent.host.peercred import peer_process
from agent.lookup.admission import Admissions, Question
from agent.lookup.answers import Lookups, Malformed

log = logging.getLogger("sixtykeyd")

END_MARK = b"\n"


class LookupConnection:
    """One helper's connection: reads a line, writes lines, and closes.

    It uses the socket directly and answers when it is accepted: most helpers have sent their line
    by then, and take the answer at once. Only the others are registered with the event loop.
    """

    def __init__(
        self, sock: socket.socket, lookups: Lookups, admissions: Admissions, waiting: Waiting
    ) -> None:
        self._sock = sock
        self._lookups = lookups
        self._admissions = admissions
        self._waiting = waiting
        # The process id and the uid of the helper.
        self._helper = (0, 0)
        # Pending work that the answer waits for; most answers need none.
        self._pulling: Optional[asyncio.Future[None]] = None
        self._admitting: Optional[asyncio.Task[bytes]] = None
        self._inbox = self._outbox = b""
        self._deadline: Optional[asyncio.TimerHandle] = None
        self._on_readable()

    def close(self) -> None:
        """Close it now."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._waiting.pop(self, None)
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._sock)
            loop.remove_writer(self._sock)
        for pending in (self._pulling, self._admitting):
            if pending is not None:
                pending.cancel()  # a use that is being written is still recorded
        self._sock.close()

    def _on_readable(self) -> None:
        try:
            answered = self._receive()
        except BlockingIOError:
            answered = False
        except (OSError, Malformed):
            self.close()
            return
        except BaseException:
            self.close()  # a bug must not leave a helper waiting
            raise
        if answered:
            self._send()
        elif self._pulling is None and self._admitting is None:
            self._wait().add_reader(self._sock, self._on_readable)
        else:
            self._wait().remove_reader(self._sock)

    def _receive(self) -> bool:
        """Read what has arrived; returns whether to answer now. Raises Malformed, OSError."""
        data = self._sock.recv(LIMITS.lookup_bytes, socket.MSG_DONTWAIT)
        self._inbox += data
        if data and b"\n" not in self._inbox and len(self._inbox) < LIMITS.lookup_bytes:
            return False
        self._helper = peer_process(self._sock)
        question = Question.parse(self._inbox)
        if question is not None:
            self._answer_question(question)
            return False
        self._pulling = self._lookups.pull(self._inbox)
        if self._pulling is not None:
            self._pulling.add_done_callback(self._answer_after_pull)
            return False
        self._look_up()
        return True

    def _look_up(self) -> None:
        answer = self._lookups.answer(self._inbox, *self._helper)
        self._outbox = answer + END_MARK

    def _answer_after_pull(self, _: asyncio.Future[None]) -> None:
        """Answer from the table: the source has answered, or its time is over."""
        if self not in self._waiting:
            return
        try:
            self._look_up()
        except (OSError, Malformed):
            self.close()
        else:
            self._send()

    def _answer_question(self, question: Question) -> None:
        """Answer PAM's account phase; the answer is sent after a use is recorded."""
        answering = self._admissions.answer(question, *self._helper)
        self._admitting = asyncio.get_running_loop().create_task(answering)
        self._admitting.add_done_callback(self._send_admission)

    def _send_admission(self, task: asyncio.Task[bytes]) -> None:
        if self not in self._waiting:
            return  # the connection is closed; what was recorded stays
        if task.cancelled() or task.exception() is not None:
            log.error("a login was not admitted: %r", task)
            self.close()  # without an answer the login is refused
            return
        self._outbox = task.result() + END_MARK
        self._send()

    def _send(self) -> None:
        try:
            while self._outbox:
                self._outbox = self._outbox[self._sock.send(self._outbox, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            loop = self._wait()
            loop.remove_reader(self._sock)
            loop.add_writer(self._sock, self._send)
            return
        except OSError:
            pass  # the helper closed the connection, as when sshd has ended
        self.close()

    def _wait(self) -> asyncio.AbstractEventLoop:
        """Start the deadline of a helper that is not answered at once; returns the event loop."""
        loop = asyncio.get_running_loop()
        if self._deadline is None:
            if len(self._waiting) >= LIMITS.lookup_connections:
                make_room(self._waiting)
            self._deadline = loop.call_later(LIMITS.lookup_seconds, self.close)
            self._waiting[self] = None
        return loop


Waiting = dict[LookupConnection, None]
"""Connections that are not answered yet, the oldest first."""


def make_room(waiting: Waiting) -> None:
    """Close the oldest connection: a helper that is alive would have its answer by now."""
    if waiting:
        next(iter(waiting)).close()


class LookupServer:
    """Serves the lookup socket."""

    def __init__(self, lookups: Lookups, admissions: Admissions) -> None:
        self._lookups = lookups
        self._admissions = admissions
        self._waiting: Waiting = {}
        self._listener: Optional[socket.socket] = None

    def start(self, listener: socket.socket) -> None:
        """Answer on `listener` until `stop`."""
        self._listener = listener
        listener.setblocking(False)
        listener.listen(LIMITS.backlog)
        self._listen()

    async def stop(self) -> None:
        """Stop accepting; answer connected helpers that ask before their deadline.

        The socket's path stays: systemd may listen there too, and new helpers then wait there.
        """
        if self._listener is None:
            return
        self._accept()
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        self._listener = None
        while self._waiting:
            await asyncio.sleep(LIMITS.drain_poll_seconds)

    def _listen(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        # At most half the limit in one turn: a new connection is read before it can be evicted.
        for _ in range(LIMITS.lookup_connections // 2):
            if self._listener is None:
                return
            try:
                sock = self._listener.accept()[0]
            except (BlockingIOError, ConnectionError):
                return
            except OSError as error:
                self._pause_accepting(error)
                return
            LookupConnection(sock, self._lookups, self._admissions, self._waiting)

    def _pause_accepting(self, error: OSError) -> None:
        """No descriptor or memory left (accept(2)): make room, and retry after a pause."""
        log.warning("cannot accept a lookup: %s", error.strerror)
        make_room(self._waiting)
        loop = asyncio.get_running_loop()
        if self._listener is not None:
            loop.remove_reader(self._listener)
            loop.call_later(LIMITS.accept_retry_seconds, self._listen)
