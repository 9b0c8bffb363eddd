"""sixtykeyd-fleet: which messages it holds and drops, and that it recovers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config.fleet_limits import FLEET
from agent.fleet.connector.holding import Holding
from tests.parts.bus import Bus, gateway_url, make_home
from tests.parts.daemon import INSTANCE_ID
from tests.parts.fleet_member import FleetMember
from tests.parts.gateway import RunningGateway
from tests.parts.host import ROOT, work_directory

SUBJECT = f"sk.host.{INSTANCE_ID}"


def test_a_held_message_is_answered_once() -> None:
    """A held message can be answered once, by its number."""
    holding = Holding()
    held = holding.put(b"message", "inbox", 0.0)
    assert held is not None
    assert holding.take(held.number + 1) is None
    assert holding.take(held.number) == held
    assert holding.take(held.number) is None


def test_messages_that_are_too_old_are_dropped() -> None:
    """A message that is too old is neither delivered nor answered."""
    holding = Holding(seconds=3.0)
    old, young = holding.put(b"a", "x", 0.0), holding.put(b"b", "y", 2.0)
    assert old is not None
    assert list(holding.waiting(2.9)) == [old, young]
    assert list(holding.waiting(3.0)) == [young]
    assert holding.take(old.number) is None


def test_no_flood_is_held_whole() -> None:
    """A message beyond the limit is dropped; those held stay until they are too old."""
    holding = Holding(most=2, seconds=3.0)
    first = [holding.put(b"a", "x", 0.0) for _ in range(3)]
    assert [each is None for each in first] == [False, False, True]
    assert holding.put(b"b", "y", 3.0) is not None
    assert len(holding) == 1


class Fleet:
    """A server, a gateway and a host."""

    def __init__(self, bus: Bus, gateway: RunningGateway, host: FleetMember) -> None:
        self.bus = bus
        self.gateway = gateway
        self.host = host


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """A running fleet."""
    with work_directory() as directory:
        home = make_home(directory, gateways=[gateway_url()])
        with Bus(home, directory) as bus, RunningGateway(directory / "gw", home) as gateway:
            gateway.await_bus()
            with FleetMember(directory / "host", gateway) as host:
                yield Fleet(bus, gateway, host)


def pushed(fleet: Fleet, wanted: str = "") -> str:
    """The code of a push, repeated until it is `wanted` or 30 s have passed."""
    end = time.monotonic() + 30
    while True:
        code = fleet.gateway.push().code
        if code == wanted or time.monotonic() > end:
            return code
        time.sleep(0.1)


def test_an_invalid_document_does_not_end_the_connection(fleet: Fleet) -> None:
    """Messages that are not documents neither end the connection nor stop the next push."""
    times = fleet.host.daemon.log().count("source fleet")

    async def flood() -> None:
        async with fleet.bus.gateway() as client:
            for message in (b"", b"{}", b"\0" * 30_000, b"x" * 16_384, b'{"body":"a"}'):
                await client.publish(SUBJECT, message)
                await client.publish(SUBJECT, message, reply=client.new_inbox())
            await client.flush()

    asyncio.run(flood())
    assert fleet.gateway.push().code == ""
    assert fleet.host.daemon.log().count("source fleet") == times


def test_a_killed_connector_is_back_on_its_own_start(fleet: Fleet) -> None:
    """After a killed connector has been started again, pushes work."""
    fleet.host.connector.kill()
    absent = "EC2InstanceNotFoundException"
    assert pushed(fleet, absent) == absent
    fleet.host.connector.begin()
    assert fleet.gateway.push().code == ""


def test_a_server_that_restarts_is_found_again(fleet: Fleet) -> None:
    """Gateway and connector reconnect by themselves to a restarted server."""
    server = fleet.bus.servers[0]
    server.kill()
    answer = fleet.gateway.push()
    assert (answer.status, answer.code) == (503, "ServiceUnavailable")
    server.start()
    assert pushed(fleet) == ""


def test_two_connectors_do_not_put_each_other_out_for_ever(fleet: Fleet) -> None:
    """Of two connectors the newer one is used, and pushes work again after one has ended."""
    words = [sys.executable, "-m", "agent.fleet.connector", "--config"]
    second = subprocess.Popen(
        [*words, str(fleet.host.daemon.config_file)], cwd=fleet.host.directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        end = time.monotonic() + 30
        while "another connection has replaced it" not in fleet.host.daemon.log():
            assert time.monotonic() < end, fleet.host.daemon.log()
            time.sleep(0.05)
    finally:
        second.kill()
        second.wait(30)
    assert pushed(fleet) == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "there is no fleet section"),
        ("fleet: {servers: [], issuers: []}", "fleet.servers"),
        (
            "fleet: {servers: ['tls://a:1'], issuers: ['ed25519:"
            + "A" * 43
            + "='], ca: /nonexistent/ca.pem}",
            "No such file",
        ),
    ],
)
def test_a_wrong_configuration_is_reported_and_not_retried(
    tmp_path: Path, text: str, words: str
) -> None:
    """A wrong configuration ends the connector with exit code 2 and a message."""
    config = tmp_path / "config.yaml"
    config.write_text(f"instance: {{id: {INSTANCE_ID}, availability_zone: us-east-2b}}\n{text}\n")
    if text == "{}":
        config.write_text(f"instance: {{id: {INSTANCE_ID}, availability_zone: us-east-2b}}\n")
    done = subprocess.run(
        [sys.executable, "-m", "agent.fleet.connector", "--config", str(config)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2, done
    assert words in done.stderr


def test_messages_that_are_held_are_of_bounded_size() -> None:
    """The backlog to the daemon has room for all held messages in base64."""
    assert FLEET.held_messages * FLEET.document_bytes * 4 / 3 < FLEET.backlog_bytes
