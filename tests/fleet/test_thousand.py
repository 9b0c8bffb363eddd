"""A thousand hosts on a cluster of three servers: every one is reached, and no 200 is false."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent.fleet.directory import roster
from tests.parts import signed
from tests.parts.bus import Bus, gateway_url, make_home
from tests.parts.gateway import RunningGateway
from tests.parts.host import work_directory
from tests.parts.raw import Answer
from tests.parts.simulation import Simulation

HOSTS, PUSHERS = 1000, 8
ABSENT = "i-0000000000000ffff"
# The longest time (s) that hosts may take to connect on a busy machine.
PATIENCE = 90.0


class Thousand:
    """Three servers, two gateways and a thousand hosts."""

    def __init__(
        self, bus: Bus, gateways: Sequence[RunningGateway], simulation: Simulation
    ) -> None:
        self.bus = bus
        self.gateways = gateways
        self.simulation = simulation

    def push_to_each(self) -> dict[str, Answer]:
        """Push a key to every host, through either gateway; return the answers."""
        with ThreadPoolExecutor(PUSHERS) as pool:
            shares = [self.simulation.instances()[n::PUSHERS] for n in range(PUSHERS)]
            answers: dict[str, Answer] = {}
            for found in pool.map(self._push_all, range(PUSHERS), shares):
                answers.update(found)
        return answers

    def _push_all(self, number: int, instances: Sequence[str]) -> dict[str, Answer]:
        gateway = self.gateways[number % len(self.gateways)]
        answers = {}
        with gateway.connection() as raw:
            for instance in instances:
                call = signed.sign(signed.push(InstanceId=instance))
                answers[instance] = raw.send(call.raw()).answer()
        return answers

    def check(self, answers: dict[str, Answer]) -> list[str]:
        """Check that each 200 was acknowledged by its host; return the hosts of other answers."""
        acknowledged = self.simulation.acknowledged()
        for instance, answer in answers.items():
            if answer.code == "":
                assert acknowledged[answer.request_id] == instance
        return [instance for instance, answer in answers.items() if answer.code != ""]


@pytest.fixture(scope="module")
def thousand() -> Iterator[Thousand]:
    """A running fleet of a thousand hosts."""
    with work_directory() as directory:
        urls = [gateway_url(), gateway_url()]
        home = make_home(directory, 3, urls)
        address = [("127.0.0.1", server.port) for server in home.facts.servers]
        with (
            Bus(home, directory) as bus,
            RunningGateway(directory / "gateway-1", home, urls[0]) as first,
            RunningGateway(directory / "gateway-2", home, urls[1]) as second,
            Simulation(home, address, 2, str(Path(home.folder) / "ca.pem")) as simulation,
        ):
            for gateway in (first, second):
                gateway.await_bus()
            simulation.grow(HOSTS, within=2.0)
            simulation.await_all(PATIENCE)
            yield Thousand(bus, (first, second), simulation)


def test_each_of_a_thousand_hosts_is_pushed_to(thousand: Thousand) -> None:
    """A push to each host gets a true 200, and one to an absent host is not found."""
    answers = thousand.push_to_each()
    assert len(answers) == HOSTS
    assert thousand.check(answers) == []
    assert thousand.gateways[0].push(InstanceId=ABSENT).code == "EC2InstanceNotFoundException"


def test_the_servers_count_the_hosts_and_no_gateway(thousand: Thousand) -> None:
    """The servers' own count is the number of hosts: the list's length, without the gateways."""

    async def count() -> tuple[int, int]:
        async with thousand.bus.gateway() as client:
            return await roster.count(client, 3), len(await roster.connections(client, 3))

    assert asyncio.run(count()) == (HOSTS, HOSTS)


def test_hosts_of_a_killed_server_are_reached_at_the_others(thousand: Thousand) -> None:
    """Hosts of a killed server reconnect to the others, and no 200 is false meanwhile."""
    thousand.bus.servers[0].kill()
    thousand.check(thousand.push_to_each())
    end = time.monotonic() + PATIENCE
    while thousand.check(thousand.push_to_each()):
        assert time.monotonic() < end, "some are never reached again"
    thousand.bus.servers[0].start()


def test_all_hosts_at_once_come_back(thousand: Thousand) -> None:
    """When all connections break at once, every host is reached again."""
    thousand.simulation.drop()
    thousand.simulation.await_all(PATIENCE)
    end = time.monotonic() + PATIENCE
    while thousand.check(thousand.push_to_each()):
        assert time.monotonic() < end, "some are never reached again"
