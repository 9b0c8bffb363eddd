"""Questions to a source: lookups share them, and wait for a limited time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Callable, Optional

import pytest

from agent.config.limits import LIMITS
from agent.sources.feed.breaker import Breaker
from agent.sources.feed.members import Violation
from agent.sources.feed.messages import Ask
from agent.sources.feed.questions import Questions
from tests.parts.clock import ManualClock

SOON = 0.05
"""Seconds that lookups wait where a test wants to see the end of it."""


class Asked:
    """Questions without a source; it records what was sent, and reports of hanging."""

    def __init__(self, seconds: float) -> None:
        self.sent: list[Ask] = []
        self.hangs = 0
        self.said: list[str] = []
        self.clock = ManualClock()
        self.breaker = Breaker(self.clock, self.said.append)
        self.questions = Questions(self.sent.append, self._hang, self.breaker, seconds)

    def _hang(self) -> None:
        self.hangs += 1

    def ask(
        self, os_user: str = "alice", fingerprint: Optional[str] = None
    ) -> asyncio.Future[None]:
        """Ask, and return the future to wait for."""
        waiting = self.questions.ask(os_user, fingerprint)
        assert waiting is not None
        return waiting


def run(course: Callable[[Asked], Awaitable[None]], seconds: float = 30.0) -> None:
    """Run a course of events in a new event loop."""

    async def inside() -> None:
        asked = Asked(seconds)
        await course(asked)
        asked.questions.close()
        await asyncio.sleep(0)
        assert asked.questions.waiting == 0

    asyncio.run(inside())


def test_a_question_is_sent_and_its_answer_ends_the_wait() -> None:
    """A question has the user's name and the fingerprint, and its answer ends the wait."""

    async def course(asked: Asked) -> None:
        waiting = asked.ask("alice", "SHA256:x")
        assert asked.sent == [Ask(1, "alice", "SHA256:x")]
        assert asked.questions.user_of(1) == "alice"
        assert not waiting.done()
        asked.questions.finish(1)
        assert waiting.done()

    run(course)


def test_a_later_question_does_not_get_an_older_answer() -> None:
    """A lookup never gets the answer to a question sent before it.

    Lookups that come while a question is on its way share the next one.
    """

    async def course(asked: Asked) -> None:
        first = asked.ask("alice", "SHA256:x")
        later = [asked.ask("alice", name) for name in ("SHA256:y", "SHA256:y", "SHA256:z")]
        assert len(asked.sent) == 1
        asked.questions.finish(1)
        assert first.done()
        assert not any(each.done() for each in later)
        assert asked.sent[1:] == [Ask(2, "alice", None)]
        asked.questions.finish(2)
        assert all(each.done() for each in later)

    run(course)


def test_users_do_not_wait_for_each_other() -> None:
    """Lookups of different users have separate questions."""

    async def course(asked: Asked) -> None:
        alice, bob = asked.ask("alice"), asked.ask("bob")
        asked.questions.finish(2)
        assert bob.done()
        assert not alice.done()

    run(course)


def test_no_lookup_waits_longer_than_its_time() -> None:
    """A lookup stops waiting at its timeout, while a later answer is still accepted."""

    async def course(asked: Asked) -> None:
        await asyncio.wait_for(asked.ask("alice"), 10)
        assert asked.questions.user_of(1) == "alice"
        second = asked.ask("alice")
        assert [each.number for each in asked.sent] == [1, 2]
        asked.questions.finish(1)
        assert not second.done()
        await asyncio.wait_for(second, 10)

    run(course, SOON)


def test_only_what_was_asked_can_be_answered() -> None:
    """Only a question that was asked can be answered, and only once."""

    async def course(asked: Asked) -> None:
        asked.ask("alice")
        with pytest.raises(Violation):
            asked.questions.user_of(2)
        asked.questions.finish(1)
        with pytest.raises(Violation):
            asked.questions.user_of(1)

    run(course)


def test_a_source_that_goes_lets_everybody_go() -> None:
    """When the source disconnects, all lookups stop waiting."""

    async def course(asked: Asked) -> None:
        waiting = [asked.ask("alice"), asked.ask("alice"), asked.ask("bob")]
        asked.questions.close()
        assert all(each.done() for each in waiting)
        with pytest.raises(Violation):
            asked.questions.user_of(1)

    run(course)


def test_the_number_of_those_who_wait_is_bounded() -> None:
    """The number of waiting lookups is limited; further ones are answered without a question."""

    async def course(asked: Asked) -> None:
        waiting = [asked.ask() for _ in range(LIMITS.pull_waiting)]
        assert asked.questions.waiting == LIMITS.pull_waiting
        assert asked.questions.ask("bob", None) is None
        waiting[-1].cancel()
        await asyncio.sleep(0)
        assert asked.questions.ask("bob", None) is not None

    run(course)


def test_a_source_has_a_limited_number_of_questions() -> None:
    """The number of unanswered questions is limited; further lookups do not wait."""

    async def course(asked: Asked) -> None:
        for number in range(LIMITS.pull_questions):
            asked.ask(f"user{number}")
        assert asked.questions.ask("one-more", None) is None
        assert len(asked.sent) == LIMITS.pull_questions

    run(course)


async def open_breaker(asked: Asked, *users: str) -> None:
    """Let questions fail until the breaker is open, the last ones for these users."""
    for number in range(1, LIMITS.pull_failures + 1 - len(users)):
        asked.ask()
        asked.questions.finish(number, "it is away")
    for user in users:
        asked.ask(user)
    while not asked.breaker.is_open:
        await asyncio.sleep(SOON / 5)


async def probed(asked: Asked, times: int = 1) -> None:
    """Wait until the source was asked so many times since the breaker opened."""
    while len(asked.sent) < LIMITS.pull_failures + times:
        await asyncio.sleep(SOON / 5)


@pytest.fixture(name="short_rests")
def _short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = LIMITS._replace(pull_rest_seconds=SOON, pull_longest_rest_seconds=2 * SOON)
    for module in ("breaker", "questions"):
        monkeypatch.setattr(f"agent.sources.feed.{module}.LIMITS", limits)


@pytest.mark.usefixtures("short_rests")
def test_failures_in_a_row_open_the_breaker() -> None:
    """Time-outs and failed answers in a row open the breaker, and no lookup waits any longer."""

    async def course(asked: Asked) -> None:
        await open_breaker(asked, "alice")
        assert len(asked.said) == 1
        assert f"no answer within {SOON} s" in asked.said[0]
        for _ in range(2):
            assert asked.questions.ask("alice", None) is None
            assert asked.questions.ask("bob", None) is None
            asked.clock.advance(SOON)

    run(course, SOON)


@pytest.mark.usefixtures("short_rests")
def test_a_question_in_the_background_closes_the_breaker() -> None:
    """While no lookup waits, the source is asked now and then; its answer lets lookups wait again.

    No login has to try it out: nobody waits for these questions.
    """

    async def course(asked: Asked) -> None:
        await open_breaker(asked)
        assert asked.questions.ask("bob", None) is None
        asked.clock.advance(SOON)
        await probed(asked)
        assert asked.sent[-1] == Ask(LIMITS.pull_failures + 1, "bob", None)
        assert asked.questions.ask("bob", None) is None
        assert asked.questions.waiting == 0
        asked.questions.finish(LIMITS.pull_failures + 1)
        assert not asked.breaker.is_open
        assert len(asked.said) == 2
        asked.ask("bob")

    run(course)


@pytest.mark.usefixtures("short_rests")
def test_questions_in_the_background_go_on_while_they_fail() -> None:
    """Each failed question in the background is followed by another one, after a rest."""

    async def course(asked: Asked) -> None:
        await open_breaker(asked)
        for times in range(1, 4):
            assert asked.breaker.wait > 0.0
            asked.clock.advance(2 * SOON)
            assert asked.breaker.wait == 0.0
            await probed(asked, times)
            asked.questions.finish(LIMITS.pull_failures + times, "it is still away")
        assert asked.questions.ask("bob", None) is None

    run(course)


@pytest.mark.usefixtures("short_rests")
def test_a_question_in_the_background_waits_for_one_that_is_on_its_way() -> None:
    """A user whose question is on its way is not asked about a second time."""

    async def course(asked: Asked) -> None:
        asked.ask("alice")
        for number in range(2, LIMITS.pull_failures + 1):
            asked.ask("bob")
            asked.questions.finish(number, "it is away")
        asked.ask("carol")
        asked.questions.finish(LIMITS.pull_failures + 1, "it is away")
        assert asked.questions.ask("alice", None) is None
        asked.clock.advance(SOON)
        await asyncio.sleep(4 * SOON)
        assert len(asked.sent) == LIMITS.pull_failures + 1
        asked.questions.finish(1)
        assert not asked.breaker.is_open

    run(course)


def test_waiting_lookups_are_released_when_the_breaker_opens() -> None:
    """When the breaker opens, lookups waiting for the next question stop waiting."""

    async def course(asked: Asked) -> None:
        for number in range(1, LIMITS.pull_failures):
            asked.ask()
            asked.questions.finish(number, "it is away")
        asked.ask()
        following = asked.ask()
        asked.questions.finish(LIMITS.pull_failures, "it is away")
        assert following.done()
        assert len(asked.sent) == LIMITS.pull_failures

    run(course)


def test_a_source_that_never_answers_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that does not answer for too long is reported as hanging."""
    limits = type("Shorter", (type(LIMITS),), {"source_answer_seconds": 2 * SOON})()
    monkeypatch.setattr("agent.sources.feed.questions.LIMITS", limits)

    async def course(asked: Asked) -> None:
        asked.ask()
        while not asked.hangs:
            await asyncio.sleep(SOON / 5)

    run(course, SOON)
