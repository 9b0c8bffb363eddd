"""Lookups and the source: which lookups wait for it, and for how long."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent.config.limits import LIMITS
from agent.lookup import server
from agent.sources.feed import breaker, ec2
from agent.sources.feed.messages import Answer, Health, Hello
from agent.sources.feed.questions import Questions
from tests.parts.leases import make_lease
from tests.sources.feed.house import House, Peer, at_house

OTHER = "SHA256:" + "A" * 43


def test_a_lookup_that_finds_a_live_key_asks_nobody(tmp_path: Path) -> None:
    """A lookup whose key is in the table is answered without a question to the source."""

    async def course(at: House) -> None:
        peer = await at.attach()
        lease = make_lease("alice", at=at.clock.boottime())
        at.store.table.add(lease)
        for line in ("alice\n", f"alice {lease.key.fingerprint}\n"):
            assert await at.look_up(line) == lease.line.encode()
        looking = asyncio.ensure_future(at.look_up(f"alice {OTHER}\n"))
        assert await peer.hear() == {"ask": 1, "os_user": "alice", "fingerprint": OTHER}
        peer.say(Answer(1))
        assert await looking == b""
        peer.writer.close()

    at_house(tmp_path, course)


@pytest.mark.parametrize("name", ["-x", "..", "a/b", "änne", "a" * 33, "DOM\\user", "1"])
def test_no_name_is_asked_for_that_nobody_can_push_for(tmp_path: Path, name: str) -> None:
    """A name that no push can have is not asked for."""

    async def course(at: House) -> None:
        peer = await at.attach()
        assert await at.look_up(f"{name}\n") == b""
        looking = asyncio.ensure_future(at.look_up("ec2-user\n"))
        assert await peer.hear() == {"ask": 1, "os_user": "ec2-user", "fingerprint": None}
        peer.say(Answer(1))
        await looking
        peer.writer.close()

    at_house(tmp_path, course)


def test_without_a_source_nobody_waits(tmp_path: Path) -> None:
    """Lookups do not wait without a source, with one that is not well, or after it has gone."""

    async def course(at: House) -> None:
        assert at.role.ask("alice", None) is None
        assert await at.look_up("alice\n") == b""
        peer = await at.connect()
        peer.say(Hello("ec2"), Health(False, "no route"))
        while at.role.describe()["Problem"] != "no route":
            await asyncio.sleep(0.001)
        assert await at.look_up("alice\n") == b""
        peer.say(Health(True))
        while at.role.describe()["Problem"]:
            await asyncio.sleep(0.001)
        looking = asyncio.ensure_future(at.look_up("alice\n"))
        assert (await peer.hear())["ask"] == 1
        peer.writer.close()
        assert await looking == b""
        assert at.role.ask("alice", None) is None

    at_house(tmp_path, course)


def test_many_lookups_of_one_user_are_few_questions(tmp_path: Path) -> None:
    """Twelve lookups of one user at once become two questions."""

    async def course(at: House) -> None:
        peer = await at.attach()
        looking = [asyncio.ensure_future(at.look_up("alice\n")) for _ in range(12)]
        while at.role.describe()["Waiting"] < 12:
            await asyncio.sleep(0.001)
        first = await peer.hear()
        peer.say(Answer(first["ask"], [at.offered()]))
        second = await peer.hear()
        assert (first["ask"], second["ask"]) == (1, 2)
        peer.say(Answer(second["ask"], [at.offered()]))
        answers = await asyncio.gather(*looking)
        assert len(set(answers)) == 1
        assert answers[0]
        peer.writer.close()

    at_house(tmp_path, course)


def test_a_source_that_is_silent_costs_half_a_second_and_then_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lookups stop waiting for a silent source after a few failures, until it answers again.

    It is asked in the background: no login waits in order to find that out.
    """
    monkeypatch.setattr(breaker, "LIMITS", LIMITS._replace(pull_rest_seconds=0.05))

    async def course(at: House) -> None:
        peer = await at.attach()
        for _ in range(LIMITS.pull_failures):
            assert await at.look_up("alice\n") == b""
        assert at.role.describe()["Problem"] == "too many questions failed in a row"
        assert at.role.ask("alice", None) is None
        for number in range(1, LIMITS.pull_failures + 1):
            peer.say(Answer(number))
            assert (await peer.hear())["ask"] == number
        at.clock.advance(LIMITS.pull_rest_seconds)
        asked = await peer.hear()
        assert at.role.describe()["Waiting"] == 0
        assert await at.look_up("bob\n") == b""
        os_user = await _answer_in_time(at, peer, asked)
        assert await at.look_up(f"{os_user}\n") != b""
        peer.writer.close()

    with caplog.at_level(logging.WARNING):
        at_house(tmp_path, course)
    said = [each for each in caplog.messages if "in a row" in each or "answers again" in each]
    assert len(said) == 2


async def _answer_in_time(at: House, peer: Peer, asked: dict[str, Any]) -> str:
    """Answer questions until one of them was not too late; returns the user that it was about.

    On a busy machine an answer may be too late: then the source is asked again.
    """
    questions = at.role._questions
    assert questions is not None
    for number in range(1, 21):
        os_user = str(asked["os_user"])
        peer.say(Answer(asked["ask"], [at.offered(number, os_user=os_user)]))
        # It ends: a question without an answer closes the connection.
        while asked["ask"] in questions._owed:
            await asyncio.sleep(0.001)
        if at.role.describe()["Problem"] is None:
            return os_user
        at.clock.advance(LIMITS.pull_longest_rest_seconds)
        asked = await peer.hear()
    raise AssertionError("each of 20 answers was too late")


def test_an_answer_that_comes_too_late_is_a_lease_all_the_same(tmp_path: Path) -> None:
    """An answer after the lookup has ended still becomes a lease."""

    async def course(at: House) -> None:
        peer = await at.attach()
        assert await at.look_up("alice\n") == b""
        peer.say(Answer((await peer.hear())["ask"], [at.offered()]))
        while not at.store.table.of("alice"):
            await asyncio.sleep(0.001)
        assert await at.look_up("alice\n") != b""
        peer.writer.close()

    at_house(tmp_path, course)


def test_a_helper_that_has_gone_leaves_nothing_behind(tmp_path: Path) -> None:
    """A helper that disconnects no longer counts as waiting."""

    async def course(at: House) -> None:
        peer = await at.attach()
        _, writer = await asyncio.open_unix_connection(at.paths["lookup"])
        writer.write(b"alice\n")
        asked = await peer.hear()
        assert at.role.describe()["Waiting"] == 1
        writer.transport.abort()
        peer.say(Answer(asked["ask"]))
        while at.role.describe()["Waiting"]:
            await asyncio.sleep(0.001)
        assert not at.lookups._waiting
        peer.writer.close()

    at_house(tmp_path, course)


def test_a_crowd_that_waits_keeps_no_other_lookup_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While many lookups wait, one whose key is in the table is answered."""
    # On a slow machine the first lookups would time out before the last ones have begun.
    monkeypatch.setattr(ec2, "Questions", partial(Questions, seconds=90.0))
    monkeypatch.setattr(server, "LIMITS", LIMITS._replace(lookup_seconds=90.0))

    async def course(at: House) -> None:
        peer = await at.attach()
        lease = make_lease("bob", at=at.clock.boottime())
        at.store.table.add(lease)
        crowd = [
            asyncio.ensure_future(at.look_up(f"user{number}\n"))
            for number in range(LIMITS.pull_waiting + 20)
        ]
        while at.role.describe()["Waiting"] < LIMITS.pull_questions:
            await asyncio.sleep(0.001)
        assert await at.look_up("bob\n") == lease.line.encode()
        peer.writer.close()
        assert set(await asyncio.gather(*crowd)) == {b""}

    at_house(tmp_path, course)


def test_questions_are_counted(tmp_path: Path) -> None:
    """Answered and failed questions are counted for the metrics."""

    async def course(at: House) -> None:
        peer = await at.attach()
        for failed in ("", "it is away"):
            looking = asyncio.ensure_future(at.look_up("alice\n"))
            peer.say(Answer((await peer.hear())["ask"], failed=failed))
            await looking
        assert at.audit.counts["source", "answered"] == 1
        assert at.audit.counts["source", "failed"] == 1
        peer.writer.close()

    at_house(tmp_path, course)
