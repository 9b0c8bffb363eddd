"""A hostile server of the bus cannot harm whoever asks it for its connections."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from agent.config.fleet_limits import FLEET
from agent.fleet.bus.caller import NoAnswer
from agent.fleet.directory import roster
from agent.fleet.directory.roster import Connection
from tests.parts.bus import PATIENCE
from tests.parts.daemon import INSTANCE_ID

HOST = {"name": f"{INSTANCE_ID} web-1", "start": "2026-01-01T00:00:00Z", "cid": 7}


class HostileServer:
    """A connection to the bus on which every question gets the same answer."""

    def __init__(self, data: Any) -> None:
        self.data = json.dumps({"server": {"name": "bus-1"}, "data": data}).encode()
        self.asked = 0

    def new_inbox(self) -> str:
        """The subject for answers."""
        return "_INBOX.1"

    async def subscribe(self, _: str, **__: object) -> HostileServer:
        """The subscription, which is this object itself."""
        return self

    async def publish(self, *_: object, reply: str) -> None:
        """Count a question."""
        assert reply
        self.asked += 1

    async def next_msg(self, timeout: float) -> HostileServer:
        """The answer."""
        assert timeout
        await asyncio.sleep(0)
        return self

    async def unsubscribe(self) -> None:
        """Do nothing."""


def test_a_server_without_end_is_asked_no_more_than_a_server_can_have() -> None:
    """A server whose list never ends is asked a limited number of times."""
    server: Any = HostileServer({"connections": [HOST] * FLEET.page_connections})
    found = asyncio.run(roster.connections(server, 1))
    assert list(found) == [INSTANCE_ID]
    assert server.asked == FLEET.list_pages


@pytest.mark.parametrize("listed", [5, "x" * 1000, {"a": 1}, [5, None, {}], None])
def test_an_invalid_list_of_connections_is_empty(listed: Any) -> None:
    """An answer that is no list of connections counts as an empty list."""
    server: Any = HostileServer({"connections": listed})
    assert asyncio.run(roster.connections(server, 1)) == {}


def test_a_host_is_found_beside_what_is_none() -> None:
    """Malformed entries of a list are skipped, and the valid ones are returned."""
    server: Any = HostileServer({"connections": [5, HOST]})
    expected = Connection(INSTANCE_ID, "web-1", "2026-01-01T00:00:00Z", "bus-1", 7)
    assert asyncio.run(roster.connections(server, 1)) == {INSTANCE_ID: expected}


def test_what_is_no_answer_does_not_keep_the_list_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends junk without end is given up: others wait for the same list."""

    class Quick:
        listing_seconds = 0.1

        def __getattr__(self, name: str) -> Any:
            return getattr(FLEET, name)

    monkeypatch.setattr(roster, "FLEET", Quick())
    server: Any = HostileServer({})
    server.data = b"junk"
    with pytest.raises(NoAnswer):
        asyncio.run(asyncio.wait_for(roster.connections(server, 3), PATIENCE))


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", '"x"', "[]", "null"])
def test_a_connection_without_a_number_is_left_out(number: str) -> None:
    """An entry whose number is none is skipped."""
    server: Any = HostileServer({"connections": [HOST, {**HOST, "cid": "NUMBER"}]})
    server.data = server.data.replace(b'"NUMBER"', number.encode())
    assert list(asyncio.run(roster.connections(server, 1))) == [INSTANCE_ID]


def test_a_list_takes_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long texts are cut, and no more hosts are listed than there can be."""
    server: Any = HostileServer(
        {
            "connections": [
                {**HOST, "name": f"i-{number:017x} " + "x" * 5000, "start": "2" * 5000}
                for number in range(50)
            ]
        }
    )
    monkeypatch.setattr(roster, "FLEET", FLEET._replace(certificates=20))
    found = asyncio.run(roster.connections(server, 1))
    assert len(found) == 20
    longest = FLEET.listed_characters
    assert {(len(each.name), len(each.since)) for each in found.values()} == {(longest, longest)}


@pytest.mark.parametrize(
    ("data", "counted"),
    [
        ({"total": 5, "connections": [HOST]}, 4),
        ({"total": 1, "connections": [HOST, HOST]}, 0),
        ({"total": "5", "connections": []}, 0),
        ({"total": 10**400, "connections": []}, 0),
        ({"total": True, "connections": "x"}, 0),
        ({}, 0),
    ],
)
def test_hosts_are_counted_whatever_a_server_says(data: Any, counted: int) -> None:
    """All connections but those with an inbox are hosts; what is no number counts as none."""
    server: Any = HostileServer(data)
    assert asyncio.run(roster.count(server, 1)) == counted
    assert server.asked == 1


def test_many_answers_of_one_server_displace_no_others() -> None:
    """A server that answers often, and before the others, still counts as one."""

    class Several(HostileServer):
        async def next_msg(self, timeout: float) -> HostileServer:
            name = "bus-1" if (number := next(numbers)) < 9 else f"bus-{number}"
            listed = [] if name == "bus-1" else [HOST]
            content = {"server": {"name": name}, "data": {"total": 3, "connections": listed}}
            self.data = json.dumps(content).encode()
            return await super().next_msg(timeout)

    numbers = iter(range(100))
    server: Any = Several({})
    assert list(asyncio.run(roster.connections(server, 2))) == [INSTANCE_ID]
    numbers = iter(range(100))
    assert asyncio.run(roster.count(server, 2)) == 3 + 2
