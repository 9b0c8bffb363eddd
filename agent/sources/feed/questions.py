"""What lookups want to know of a source: asked once for each user, and waited for, but not long.

A lookup must see what was there when it began. So it shares a question that has not been sent yet,
and never one whose answer may have been made before it began: for each user one question is on its
way, and one more is waiting for that.
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
        """Let everybody go who waits."""
        for future in self.waiting:
            _release(future)


class Questions:
    """Questions to one source, from when it is there until it goes.

    Args:
        send: says it to the source.
        hang: is called when an answer is owed for so long that the source must hang.
        seconds: how long a lookup waits, and how long a question may take before it has failed.
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
        # What was sent and is owed an answer, by number; and the timer that ends its time.
        self._owed: dict[int, tuple[_Question, asyncio.TimerHandle]] = {}
        # By user: the number that lookups wait for, and the question that comes after it.
        self._sent: dict[str, int] = {}
        self._next: dict[str, _Question] = {}

    @property
    def waiting(self) -> int:
        """How many lookups wait."""
        return self._waiting

    def ask(self, os_user: str, fingerprint: Optional[str]) -> Optional[asyncio.Future[None]]:
        """Done when the answer was taken, or none comes in time. None: do not wait at all."""
        if self._waiting >= LIMITS.pull_waiting:
            return None
        if os_user in self._sent:
            if self._breaker.is_open:
                return None
            question = self._next.setdefault(os_user, _Question(os_user, fingerprint))
            if question.fingerprint != fingerprint:
                question.fingerprint = None
        else:
            question = _Question(os_user, fingerprint)
            if not self._put(question):
                return None
        return self._wait_for(question)

    def user_of(self, number: int) -> str:
        """Whom a question was about that is owed an answer. Raises Violation: there is none."""
        if number not in self._owed:
            raise Violation("it answers what it was not asked")
        return self._owed[number][0].os_user

    def finish(self, number: int, failed: str = "") -> None:
        """The answer was taken; `failed`: the source says why it has none."""
        question, timer = self._owed.pop(number)
        timer.cancel()
        if self._sent.get(question.os_user) != number:
            return  # it came too late, which was counted then
        if failed:
            self._breaker.fail(failed)
        else:
            self._breaker.succeed()
        self._release(question)

    def close(self) -> None:
        """The source has gone: nobody waits for it."""
        for question, timer in self._owed.values():
            timer.cancel()
            question.release()
        for question in self._next.values():
            question.release()
        for left in (self._owed, self._sent, self._next):
            left.clear()

    def _put(self, question: _Question) -> bool:
        """Send it, if anything may be asked now."""
        if len(self._owed) >= LIMITS.pull_questions or not self._breaker.admits():
            return False
        self._number += 1
        number, loop = self._number, asyncio.get_running_loop()
        timer = loop.call_later(self._seconds, self._expire, number)
        self._owed[number], self._sent[question.os_user] = (question, timer), number
        self._send(Ask(number, question.os_user, question.fingerprint))
        return True

    def _expire(self, number: int) -> None:
        """Nobody waits any longer; what is answered later is taken all the same."""
        question, _ = self._owed[number]
        left = max(LIMITS.source_answer_seconds - self._seconds, 0.0)
        timer = asyncio.get_running_loop().call_later(left, self._hang)
        self._owed[number] = question, timer
        self._breaker.fail(f"no answer within {self._seconds:g} s")
        self._release(question)

    def _release(self, question: _Question) -> None:
        """Those who wait for it go, and the next question of this user is sent."""
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
