"""A lease of a source walks through the daemon in one direction, as a request does."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agent.sources.feed.messages import Answer, Deliver, encode
from tests.fleet.sample_messages import ISSUER, LEASE
from tests.sources.feed.fleet_house import FleetHouse, at_fleet
from tests.sources.feed.house import House, Peer, at_house
from tests.sources.test_walk import ENDS, counted, visited
from tests.sources.walk import Step, climbs, walking

SERVER = "sources/feed/server.py"
DOORS = (
    SERVER, "sources/feed/messages.py", "sources/feed/ec2.py", "sources/feed/questions.py",
    "sources/feed/fleet.py",
)  # fmt: skip
"""The door of sources: it also writes the answer, or releases the lookups that asked."""
NOT_COUNTED = {
    "fleet/messages/": "a value: the signed document, read member by member, and its answer",
    "fleet/host/signer.py": "signs the answer, for the door",
    "sources/feed/pace.py": "looks whether to answer at all, and notes that it was answered",
    "host/bucket.py": "the same",
}


def climbed(steps: list[Step]) -> list[str]:
    """Where the walk climbs back to anything but the door, except for its end."""
    rest = [step for step in counted(steps) if not step.module.startswith(tuple(NOT_COUNTED))]
    return [
        str(step)
        for step in climbs(rest)
        if step.module not in DOORS and (step.caller, step.module) not in ENDS
    ]


def passed(steps: list[Step]) -> list[str]:
    """The steps of every offer, in the order in which they are taken."""
    names = ("readiness", "replay", "intake", "lifetime")
    return [name for module in visited(steps) for name in names if module == f"sources/{name}.py"]


def test_a_fleets_lease_climbs_back_into_no_module_that_it_has_left(tmp_path: Path) -> None:
    """From its line to the answer, a fleet's lease enters each module once."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        sent = encode(Deliver(7, LEASE.seal(ISSUER)))
        with walking(SERVER) as walk:
            peer.writer.write(sent)
            await peer.hear()
        assert at.store.table.of(LEASE.os_user)
        assert climbed(walk.steps) == []
        assert passed(walk.steps) == ["readiness", "replay", "intake", "lifetime"]

    at_fleet(tmp_path, course)


def test_an_offer_of_ec2_climbs_back_into_no_module_that_it_has_left(tmp_path: Path) -> None:
    """From its line to the lookup that waits for it, an offer of EC2's enters each module once."""

    async def course(at: House) -> None:
        peer = await at.attach()
        looking = asyncio.ensure_future(at.look_up("alice\n"))
        sent = encode(Answer((await peer.hear())["ask"], [at.offered()]))
        with walking(SERVER) as walk:
            peer.writer.write(sent)
            while not at.store.table.of("alice"):
                await asyncio.sleep(0)
            await looking
        peer.writer.close()
        assert climbed(walk.steps) == []
        assert passed(walk.steps) == ["replay", "readiness", "intake", "lifetime"]

    at_house(tmp_path, course)


def test_a_question_to_ec2_climbs_back_into_no_module_that_it_has_left(tmp_path: Path) -> None:
    """From its line to the question, a lookup that finds nothing enters each module once."""

    async def course(at: House) -> None:
        peer = await at.attach()
        with walking("lookup/server.py") as walk:
            looking = asyncio.ensure_future(at.look_up("alice\n"))
            await peer.hear()
        assert climbs(counted(walk.steps)) == []
        assert visited(walk.steps)[-1] == "sources/feed/messages.py"
        peer.writer.close()
        assert await looking == b""

    at_house(tmp_path, course)
