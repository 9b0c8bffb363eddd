"""A host's stolen credentials for the bus reach no other host and give nobody access."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from nats.aio.client import Client
from nats.errors import Error

from agent.fleet.messages import lease_exchange
from agent.fleet.messages.lease_exchange import SUBJECT
from tests.parts.bus import PATIENCE, Errors
from tests.parts.daemon import INSTANCE_ID
from tests.parts.fleet_host import FleetHost
from tests.parts.host import work_directory
from tests.parts.raw import Answer
from tests.parts.whole_fleet import WholeFleet, served

ROBBED = "i-00000000000000002"


class Robbed:
    """A whole fleet, and a second host whose credentials were stolen."""

    def __init__(self, fleet: WholeFleet, host: FleetHost) -> None:
        self.fleet = fleet
        self.host = host

    def thief(self, **options: Any) -> Any:
        """A client of the bus with the stolen credentials."""
        return self.fleet.bus.of_creds(str(self.host.creds), **options)

    def push(self, user: str, instance: str) -> Answer:
        """Push through the gateway."""
        return self.fleet.gateway.push(InstanceOSUser=user, InstanceId=instance)


@pytest.fixture(scope="module")
def robbed() -> Iterator[Robbed]:
    """A fleet with a robbed host."""
    with (
        work_directory() as directory,
        WholeFleet(directory) as fleet,
        FleetHost(fleet.home, directory, ROBBED) as host,
    ):
        yield Robbed(fleet, host)


def test_another_hosts_pushes_are_not_heard(robbed: Robbed) -> None:
    """The thief cannot subscribe to another host's pushes, and these are served as usual."""

    async def attempt(subject: str, queue: str) -> Answer:
        errors, heard = Errors(), []

        async def hear(message: Any) -> None:
            heard.append(message.data)
            await message.respond(b"mine")

        async with robbed.thief(errors=errors) as thief:
            await thief.subscribe(subject, queue=queue, cb=hear)
            await errors.wait_for("permissions violation for subscription")
            answer = await asyncio.to_thread(robbed.push, "ada", INSTANCE_ID)
            await thief.flush()
        assert heard == []
        return answer

    for subject in (f"{SUBJECT}{INSTANCE_ID}", f"{SUBJECT}*", ">", "_INBOX.>"):
        for queue in ("", "hosts"):
            answer = asyncio.run(attempt(subject, queue))
            assert answer.code == ""
            assert answer.request_id in served(robbed.fleet.member, "ada")


async def _denied(thief: Client, errors: Errors, subject: str, data: bytes, reply: str) -> None:
    errors.clear()
    await thief.publish(subject, data, reply=reply)
    await errors.wait_for("permissions violation for publish")


def test_nothing_is_sent_to_another_host_or_gateway(robbed: Robbed) -> None:
    """The thief can send neither a captured lease to another host nor an answer to a gateway."""
    assert robbed.push("bob", ROBBED).code == ""
    lease = robbed.host.received[-1]

    async def attempt() -> None:
        errors = Errors()
        async with robbed.thief(errors=errors) as thief:
            inbox = robbed.fleet.gateway.url.rpartition("/")[2].replace(":", "-").replace(".", "-")
            for subject in (f"{SUBJECT}{INSTANCE_ID}", f"_INBOX.{inbox}.x.y", "_INBOX.x", ">"):
                await _denied(thief, errors, subject, lease, "")
                await _denied(thief, errors, subject, lease, f"{SUBJECT}{ROBBED}")

    asyncio.run(attempt())
    assert served(robbed.fleet.member, "bob") == ""


def test_a_robbed_host_can_ask_nobody(robbed: Robbed) -> None:
    """The thief cannot send requests, as it may not subscribe to an inbox."""

    async def attempt(subject: str) -> None:
        errors = Errors()
        async with robbed.thief(errors=errors) as thief:
            with pytest.raises(Error):
                await thief.request(subject, b"", timeout=1)
            await errors.wait_for("permissions violation")

    for subject in (f"{SUBJECT}{INSTANCE_ID}", "$SYS.REQ.ACCOUNT.PING.CONNZ"):
        asyncio.run(attempt(subject))


def test_a_second_connection_of_the_host_signs_nothing(robbed: Robbed) -> None:
    """Answers of the thief in place of the robbed host never make a push accepted."""

    async def attempt() -> list[Answer]:
        async def lie(message: Any) -> None:
            certificate = robbed.host.sealed_certificate
            await message.respond(lease_exchange.seal_reply(message.data, certificate))

        async with robbed.thief() as thief:
            await thief.subscribe(f"{SUBJECT}{ROBBED}", cb=lie)
            await thief.flush(int(PATIENCE))
            return [await asyncio.to_thread(robbed.push, "cy", ROBBED) for _ in range(10)]

    before = len(robbed.host.received)
    answers = asyncio.run(attempt())
    assert {each.code for each in answers} <= {"", "ServiceUnavailable"}
    # The host itself receives and signs every lease; where the thief answers first, somewhat later.
    deadline = time.monotonic() + PATIENCE
    while len(robbed.host.received) - before < len(answers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(robbed.host.received) - before == len(answers)


def test_while_the_host_is_away_its_thief_makes_no_200(robbed: Robbed) -> None:
    """With the connector's key and the certificate but without the host key, there is no 200."""
    instance = "i-00000000000000003"

    async def attempt(host: FleetHost) -> Answer:
        async def lie(message: Any) -> None:
            certificate = host.sealed_certificate
            digest = lease_exchange.digest(message.data)
            forged = lease_exchange.Acknowledgement(digest, instance, "x", 1)
            await message.respond(
                lease_exchange.seal_reply(forged.seal(robbed.host.keys.host), certificate)
            )

        async with robbed.fleet.bus.of_creds(str(host.creds)) as thief:
            await thief.subscribe(f"{SUBJECT}{instance}", cb=lie)
            await thief.flush(int(PATIENCE))
            return await asyncio.to_thread(robbed.push, "dee", instance)

    with work_directory() as directory:
        away = FleetHost(robbed.fleet.home, directory, instance)
        assert robbed.push("dee", instance).code == "EC2InstanceNotFoundException"
        assert asyncio.run(attempt(away)).code == "ServiceUnavailable"
