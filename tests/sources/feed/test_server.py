"""Which processes may use the source socket, and how misbehaviour there is handled."""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
from pathlib import Path

import pytest

from agent.config.limits import LIMITS
from agent.sources.feed.members import MAX_BYTES
from agent.sources.feed.messages import (
    Answer,
    Deliver,
    FromSource,
    Health,
    Hello,
    Refusal,
    Reply,
)
from agent.sources.feed.server import allowed_roles
from tests.sources.feed.house import House, at_house


def test_a_source_says_who_it_is_and_is_asked(tmp_path: Path) -> None:
    """A source is asked only while its last health report is good."""

    async def course(at: House) -> None:
        peer = await at.connect()
        peer.say(Hello("ec2"))
        while not at.role.describe()["Attached"]:
            await asyncio.sleep(0.001)
        assert at.role.ask("alice", None) is None
        peer.say(Health(True))
        while at.role.describe()["Problem"]:
            await asyncio.sleep(0.001)
        assert at.role.ask("alice", None) is not None
        assert await peer.hear() == {"ask": 1, "os_user": "alice", "fingerprint": None}
        peer.say(Health(False, "no route"))
        while at.role.describe()["Problem"] != "no route":
            await asyncio.sleep(0.001)
        assert at.role.ask("bob", None) is None
        peer.writer.close()

    at_house(tmp_path, course)


@pytest.mark.parametrize("role", ["ec2", "fleet"])
def test_a_role_must_fit_the_user(tmp_path: Path, role: str) -> None:
    """A process whose user does not fit its role is disconnected."""

    async def course(at: House) -> None:
        peer = await at.connect()
        peer.say(Hello(role), Health(True))
        assert await peer.is_closed()
        assert not at.role.describe()["Attached"]
        peer.writer.close()

    at_house(tmp_path, course, allowed=tuple({"ec2", "fleet"} - {role}))


def test_each_user_may_be_one_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each service user may have its own role; root and the daemon's user may have both."""
    names = {7: "sixtykey-ec2", 8: "sixtykey-fleet", 9: "sixtykey-lookup", 10: "alice"}

    def entry(uid: int) -> object:
        if uid not in names:
            raise KeyError(uid)
        return type("Entry", (), {"pw_name": names[uid]})

    monkeypatch.setattr(pwd, "getpwuid", entry)
    assert allowed_roles(0) == allowed_roles(os.geteuid()) == ("ec2", "fleet")
    assert (allowed_roles(7), allowed_roles(8)) == (("ec2",), ("fleet",))
    assert allowed_roles(9) == allowed_roles(10) == allowed_roles(11) == ()


def test_a_role_that_is_not_configured_is_closed(tmp_path: Path) -> None:
    """A source with a role that is not configured is disconnected."""

    async def course(at: House) -> None:
        peer = await at.connect()
        peer.say(Hello("fleet"))
        assert await peer.is_closed()
        peer.writer.close()

    at_house(tmp_path, course)


@pytest.mark.parametrize(
    "line",
    [
        b'{"health":"well"}\n', b"GET / HTTP/1.1\r\n\r\n", b"\n", b"x" * (MAX_BYTES + 10) + b"\n",
        b'{"hello":"ec2","hello":"ec2","version":1}\n', b'{"hello":"ec2","version":2}\n',
    ],
)  # fmt: skip
def test_a_connection_without_a_hello_is_closed(tmp_path: Path, line: bytes) -> None:
    """A process that does not say hello first is disconnected."""

    async def course(at: House) -> None:
        peer = await at.connect()
        peer.writer.write(line)
        assert await peer.is_closed()
        peer.writer.close()

    at_house(tmp_path, course)


BAD_LINES = [
    b'{"hello":"ec2","version":1}\n',
    b'{"deliver":1,"message":"QQ=="}\n',
    b'{"answer":1,"offers":[],"refusals":[]}\n',
    b'{"answer":1,"offers":[],"offers":[],"refusals":[]}\n',
    b'{"health":"well","more":1}\n',
    b"nonsense\n",
    b"x" * (MAX_BYTES + 10) + b"\n",
]


@pytest.mark.parametrize("line", BAD_LINES, ids=lambda line: line[:30].decode())
def test_a_source_that_says_what_it_may_not_is_dropped(
    tmp_path: Path, line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A source that sends a line it may not send is disconnected, and the log says why."""

    async def course(at: House) -> None:
        peer = await at.attach()
        peer.writer.write(line)
        assert await peer.is_closed()
        assert at.role.describe() == {
            "Attached": False, "Problem": "sixtykeyd-ec2 is not connected", "Waiting": 0
        }  # fmt: skip
        peer.writer.close()

    with caplog.at_level(logging.WARNING):
        at_house(tmp_path, course)
    assert any("source ec2 (uid " in each and "dropped" in each for each in caplog.messages)


def test_a_newer_source_replaces_the_older(tmp_path: Path) -> None:
    """A new source replaces the old one, for whose answers lookups no longer wait."""

    async def course(at: House) -> None:
        old = await at.attach()
        waiting = at.role.ask("alice", None)
        assert waiting is not None
        await old.hear()
        new = await at.connect()
        new.say(Hello("ec2"), Health(True))
        await waiting
        assert await old.is_closed()
        while at.role.describe()["Problem"]:
            await asyncio.sleep(0.001)
        assert at.role.ask("alice", None) is not None
        assert (await new.hear())["os_user"] == "alice"
        for peer in (old, new):
            peer.writer.close()

    at_house(tmp_path, course)


def test_a_flood_of_any_message_leaves_others_their_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop runs others after every message of a source's flood."""
    taken, most = 0, 0

    async def course(at: House) -> None:
        nonlocal taken, most
        take = at.role.take

        async def count(message: FromSource) -> None:
            nonlocal taken
            taken += 1
            await take(message)

        monkeypatch.setattr(at.role, "take", count)
        peer = await at.attach()
        peer.say(*[Health(True)] * 1000)
        while taken < 1000:
            before = taken
            await asyncio.sleep(0)
            most = max(most, taken - before)
        peer.writer.close()

    at_house(tmp_path, course)
    assert most <= 2


def test_a_silent_connection_is_closed(tmp_path: Path) -> None:
    """A process that does not complete its hello in time is disconnected."""

    async def course(at: House) -> None:
        silent = await at.connect()
        half = await at.connect()
        half.writer.write(b'{"hello":')
        assert await silent.is_closed()
        assert await half.is_closed()
        for peer in (silent, half):
            peer.writer.close()

    at_house(tmp_path, course, hello_seconds=0.1)


def test_a_crowd_of_silent_ones_keeps_no_source_out(tmp_path: Path) -> None:
    """The oldest connection without a hello gives way to a new one; a live source does not."""

    async def course(at: House) -> None:
        first = await at.attach()
        crowd = [await at.connect() for _ in range(3 * LIMITS.source_connections)]
        assert await crowd[0].is_closed()
        assert at.role.ask("alice", None) is not None
        assert (await first.hear())["ask"] == 1
        second = await at.connect()
        second.say(Hello("ec2"), Health(True))
        assert await first.is_closed()
        for peer in (first, second, *crowd):
            peer.writer.close()

    at_house(tmp_path, course)


def test_a_source_that_does_not_read_is_dropped(tmp_path: Path) -> None:
    """A source that does not read is disconnected when its backlog reaches the limit."""

    async def course(at: House) -> None:
        peer = await at.attach()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        link = at.feed._live["ec2"]
        said = 0
        while at.role.describe()["Attached"]:
            link.send(Reply(1, b"x" * 1000))
            said += 1
            await asyncio.sleep(0)
            assert said < 10_000
        peer.writer.close()

    at_house(tmp_path, course)


def test_a_refusal_is_recorded_for_the_user_of_its_question(tmp_path: Path) -> None:
    """A refusal without an offer is recorded for the user of the question."""

    async def course(at: House) -> None:
        peer = await at.attach()
        looking = asyncio.ensure_future(at.look_up("alice\n"))
        asked = await peer.hear()
        peer.say(Answer(asked["ask"], [], [Refusal("no good", "0d8f4a1e", "arn:x", "SHA256:x")]))
        assert await looking == b""
        (record,) = at.pushes()
        assert (record["outcome"], record["os_user"]) == ("Refused", "alice")
        assert (record["reason"], record["source"]) == ("no good", "ec2")
        assert (record["upstream_id"], record["principal"]) == ("0d8f4a1e", "arn:x")
        peer.writer.close()

    at_house(tmp_path, course)


def test_the_fleets_messages_are_refused_from_ec2s_source(tmp_path: Path) -> None:
    """A source that sends a message of another role is disconnected."""

    async def course(at: House) -> None:
        peer = await at.attach()
        peer.say(Deliver(1, b"x"))
        assert await peer.is_closed()
        peer.writer.close()

    at_house(tmp_path, course)
