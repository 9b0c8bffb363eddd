"""The daemon's part in speaking with sixtykeyd-ec2: it asks when a lookup has found nothing."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any, Optional

from agent.config import patterns
from agent.leases.lease import Lease
from agent.sources.context import Context
from agent.sources.feed.breaker import Breaker
from agent.sources.feed.members import Violation
from agent.sources.feed.messages import Answer, FromSource, Health
from agent.sources.feed.offers import Offers
from agent.sources.feed.questions import Questions
from agent.sources.feed.server import Link
from agent.sources.steps import Steps

log = logging.getLogger("sixtykeyd")

NAME = "ec2"


class Ec2Role:
    """Asks the source named ec2 for keys that were pushed through EC2's own API."""

    def __init__(self, context: Context, steps: Steps[Lease]) -> None:
        self._context = context
        self._offers = Offers(context, steps, NAME)
        self._breaker = Breaker(context.clock, self._report)
        self._link: Optional[Link] = None
        self._questions: Optional[Questions] = None
        self._health = Health(False, "it has not reported its state")

    def ask(self, os_user: str, fingerprint: Optional[str]) -> Optional[asyncio.Future[None]]:
        """Done when the table has what EC2's metadata has for this user, or in half a second.

        None when there is nothing to wait for: no source, none that is well, or no such user.
        """
        if self._questions is None or not self._health.well:
            return None
        try:
            patterns.os_user_current(os_user)
        except ValueError:
            return None
        waiting = self._questions.ask(os_user, fingerprint)
        if waiting is None:
            self._count("not_asked")
        return waiting

    def attach(self, link: Link) -> None:
        """A source has said hello: it is asked as soon as it says that it is well."""
        self._link = link
        self._breaker.reset()
        self._health = Health(False, "it has not reported its state")
        hang = partial(link.drop, "it does not answer")
        self._questions = Questions(link.send, hang, self._breaker)

    def detach(self) -> None:
        """Release the lookups that wait for the source, which has disconnected."""
        if self._questions is not None:
            self._questions.close()
        self._link = self._questions = None
        log.warning("source %s: disconnected; lookups do not wait for it", NAME)

    async def take(self, message: FromSource) -> None:
        """How the source is, or what it answers. Raises Violation."""
        if isinstance(message, Health):
            self._change_health(message)
        elif isinstance(message, Answer) and self._questions is not None:
            await self._take_answer(message, self._questions)
        else:
            raise Violation(f"{NAME} may not send this")

    def describe(self) -> dict[str, Any]:
        """The role's state, for an operator."""
        return {
            "Attached": self._link is not None,
            "Problem": self._problem(),
            "Waiting": 0 if self._questions is None else self._questions.waiting,
        }

    def _problem(self) -> Optional[str]:
        """Why lookups do not wait for it; None when they do."""
        if self._link is None:
            return "sixtykeyd-ec2 is not connected"
        if not self._health.well:
            return self._health.reason
        return "too many questions failed in a row" if self._breaker.is_open else None

    async def _take_answer(self, answer: Answer, questions: Questions) -> None:
        received = self._context.clock.boottime()
        os_user = questions.user_of(answer.number)
        for offered in answer.offers:
            if offered.os_user != os_user:
                raise Violation("it offers a key for a user that it was not asked about")
        for offered in answer.offers:
            await self._offers.take(offered, received)
        for refusal in answer.refusals:
            self._offers.refuse(refusal, os_user)
        self._count("failed" if answer.failed else "answered")
        if questions is self._questions:
            questions.finish(answer.number, answer.failed)

    def _change_health(self, health: Health) -> None:
        if health.well != self._health.well:
            well = "lookups wait for it" if health.well else f"not usable: {health.reason}"
            log.warning("source %s: %s", NAME, well)
        self._health = health

    def _report(self, words: str) -> None:
        log.warning("source %s: %s", NAME, words)

    def _count(self, outcome: str) -> None:
        self._context.audit.count("source", outcome)
