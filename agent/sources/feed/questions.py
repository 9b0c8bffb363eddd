"""Lookups' questions to a source: one for each user at a time, with a short wait.

A lookup must see what the source had when the lookup began. So it shares a question that has not
been sent yet, and never one whose answer may be older: for each user one question is in progress,
and one more may wait for it.

After several failures in a row no lookup waits. Then questions in the background, for which nobody
waits, show whether the source answers in time again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Callable, Optional

from agent.config.limits import LIMITS
from agent.sources.feed.breaker import Breaker
from agent.sources.feed.members import Violation
from agent.sources.feed.messages import Ask


@dataclass
class _Question:
    """One user's question, and the lookups that wait for it."""

    os_user: str
    fingerprint: Optional[str]
    waiting: list[asyncio.Future[None]] = field(default_factory=list)

    def release(self) -> None:
        """Release all waiting lookups."""
        for future in self.waiting:
            _release(future)


class Questions:
    """Questions to one source, for as long as it is connected.

    Args:
        send: sends a question to the source.
        hang: called when an answer is so late that the source must have hung.
        seconds: how long a lookup waits, and after which a question has failed.
    """

    def __init__(
        self,
        send: Callable[[Ask], None],
        hang: Callable[[], None],
        breaker: Breaker,
        seconds: float = LIMITS.pull_seconds,
    ) -> None:
        self._send = send
        self._hang = hang
        self._breaker = breaker
        self._seconds = seconds
        self._number = 0
        self._waiting = 0
        # Sent questions without an answer, by number; and their timers.
        self._owed: dict[int, tuple[_Question, asyncio.TimerHandle]] = {}
        # By user: the number that lookups wait for, and the next question.
        self._sent: dict[str, int] = {}
        self._next: dict[str, _Question] = {}
        # The next question in the background, and the user of the latest lookup: it is about them.
        self._probing: Optional[asyncio.TimerHandle] = None
        self._latest = ""

    @property
    def waiting(self) -> int:
        """The number of waiting lookups."""
        return self._waiting

    def ask(self, os_user: str, fingerprint: Optional[str]) -> Optional[asyncio.Future[None]]:
        """Completes when the answer was processed, or is too late. None: do not wait at all."""
        self._latest = os_user
        if self._waiting >= LIMITS.pull_waiting or self._breaker.is_open:
            return None
        if os_user in self._sent:
            question = self._next.setdefault(os_user, _Question(os_user, fingerprint))
            if question.fingerprint != fingerprint:
                question.fingerprint = None
        else:
            question = _Question(os_user, fingerprint)
            if not self._put(question):
                return None
        return self._wait_for(question)

    def user_of(self, number: int) -> str:
        """The user of an unanswered question. Raises Violation: there is no such question."""
        if number not in self._owed:
            raise Violation("it answers a question that was not asked")
        return self._owed[number][0].os_user

    def finish(self, number: int, failed: str = "") -> None:
        """Note that the answer was processed; `failed`: the source's reason why it has none."""
        question, timer = self._owed.pop(number)
        timer.cancel()
        if self._sent.get(question.os_user) != number:
            return  # it came too late, which was counted before
        if failed:
            self._fail(failed)
        else:
            self._breaker.succeed()
        self._release(question)

    def close(self) -> None:
        """Release all lookups: the source has gone."""
        for question, timer in self._owed.values():
            timer.cancel()
            question.release()
        for question in self._next.values():
            question.release()
        for left in (self._owed, self._sent, self._next):
            left.clear()
        if self._probing is not None:
            self._probing.cancel()

    def _put(self, question: _Question) -> bool:
        """Send it, if questions may be sent now."""
        if len(self._owed) >= LIMITS.pull_questions or not self._breaker.admits():
            return False
        self._number += 1
        number, loop = self._number, asyncio.get_running_loop()
        timer = loop.call_later(self._seconds, self._expire, number)
        self._owed[number], self._sent[question.os_user] = (question, timer), number
        self._send(Ask(number, question.os_user, question.fingerprint))
        return True

    def _expire(self, number: int) -> None:
        """Release its lookups; a later answer is still processed."""
        question, _ = self._owed[number]
        left = max(LIMITS.source_answer_seconds - self._seconds, 0.0)
        timer = asyncio.get_running_loop().call_later(left, self._hang)
        self._owed[number] = question, timer
        self._fail(f"no answer within {self._seconds:g} s")
        self._release(question)

    def _fail(self, why: str) -> None:
        """Count a failure; if lookups no longer wait, go on asking in the background."""
        self._breaker.fail(why)
        if self._breaker.is_open and self._probing is None:
            self._plan_probe()

    def _plan_probe(self) -> None:
        wait = self._breaker.wait or LIMITS.pull_rest_seconds
        self._probing = asyncio.get_running_loop().call_later(wait, self._probe)

    def _probe(self) -> None:
        """Ask once more; nobody waits for the answer. What comes late is a lease for a next try."""
        self._probing = None
        if self._breaker.is_open and (
            self._latest in self._sent or not self._put(_Question(self._latest, None))
        ):
            self._plan_probe()

    def _release(self, question: _Question) -> None:
        """Release its lookups, and send this user's next question."""
        del self._sent[question.os_user]
        question.release()
        following = self._next.pop(question.os_user, None)
        if following is not None and not self._put(following):
            following.release()

    def _wait_for(self, question: _Question) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(self._seconds, _release, future)
        self._waiting += 1

        def leave(_: asyncio.Future[None]) -> None:
            timer.cancel()
            self._waiting -= 1

        future.add_done_callback(leave)
        question.waiting.append(future)
        return future


def _release(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
