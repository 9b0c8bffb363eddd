"""Local pushes and logins work while the fleet is down: real sshd, ssh and AWS clients."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.fleet_member import RunningConnector
from tests.parts.host import login_user, work_directory
from tests.parts.keys import KeyPair, make_key
from tests.parts.pushers import Target, push_with_aws_cli, push_with_boto3
from tests.parts.sshd import RunningSshd
from tests.parts.whole_fleet import WholeFleet, push_locally, served

_NUMBERS = itertools.count()


class House:
    """A fleet with one host, into which users log in."""

    def __init__(self, folder: Path, fleet: WholeFleet, sshd: RunningSshd, user: str) -> None:
        self.folder = folder
        self.fleet = fleet
        self.sshd = sshd
        self.user = user

    def new_key(self) -> KeyPair:
        """A fresh key pair."""
        return make_key(self.folder, f"key{next(_NUMBERS)}")

    def accepts(self, key: KeyPair) -> None:
        """Check that a login with this key succeeds."""
        login = self.sshd.login(self.user, key)
        assert login.accepted, f"{login}\n{self.sshd.log()}\n{self.fleet.member.daemon.log()}"

    def push_through_the_fleet(self) -> KeyPair:
        """Push a fresh key through the gateway, and return it."""
        key = self.new_key()
        done = push_with_boto3(self.fleet.gateway.target(), self.user, key.line)
        assert done.ok, done
        return key

    def check(self, before: KeyPair) -> None:
        """Check that a key from the fleet and local pushes log in, and that other keys do not."""
        self.accepts(before)
        for push in (push_with_boto3, push_with_aws_cli):
            key = self.new_key()
            refused = self.sshd.login(self.user, key)
            assert refused.refused, refused
            done = push(Target.of(self.fleet.member.daemon), self.user, key.line)
            assert done.ok, done
            self.accepts(key)
        assert push_locally(self.fleet.member, "somebody") in served(self.fleet.member, "somebody")


@pytest.fixture
def house() -> Iterator[House]:
    """A running fleet with an sshd."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(work_directory())
        user = stack.enter_context(login_user())
        fleet = stack.enter_context(WholeFleet(folder, gateways=1))
        sshd = stack.enter_context(RunningSshd(folder, fleet.member.daemon.lookup_socket))
        yield House(folder, fleet, sshd, user)


def test_logins_and_local_pushes_work_without_servers(house: House) -> None:
    """Logins and local pushes work while all servers of the bus are down."""
    before = house.push_through_the_fleet()
    for server in house.fleet.bus.servers:
        server.kill()
    house.check(before)
    assert house.fleet.gateway.push().code == "ServiceUnavailable"


def test_logins_and_local_pushes_work_while_servers_are_stopped(house: House) -> None:
    """Logins and local pushes work while the servers of the bus are stopped by SIGSTOP."""
    before = house.push_through_the_fleet()
    stopped = [each.process for each in house.fleet.bus.servers if each.process is not None]
    for process in stopped:
        process.send_signal(signal.SIGSTOP)
    try:
        house.check(before)
    finally:
        for process in stopped:
            process.send_signal(signal.SIGCONT)


def test_logins_and_local_pushes_work_without_a_gateway(house: House) -> None:
    """Logins and local pushes work while the gateway is down."""
    before = house.push_through_the_fleet()
    house.fleet.gateway.kill()
    house.check(before)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
def test_logins_and_local_pushes_work_without_a_connector(
    house: House, number: signal.Signals
) -> None:
    """Logins and local pushes work while the connector is killed, terminated or stopped."""
    before = house.push_through_the_fleet()
    connector = house.fleet.member.connector
    assert connector.process is not None
    connector.process.send_signal(number)
    if number != signal.SIGSTOP:
        connector.process.wait(30)
    try:
        house.check(before)
    finally:
        _wake(connector)


def test_a_daemon_that_starts_while_all_of_the_fleet_is_gone(house: House) -> None:
    """A daemon restarted without a fleet serves its keys and takes local pushes."""
    before = house.push_through_the_fleet()
    house.fleet.member.connector.kill()
    house.fleet.gateway.kill()
    for server in house.fleet.bus.servers:
        server.kill()
    house.fleet.member.daemon.kill()
    house.fleet.member.daemon.start()
    house.check(before)


def _wake(connector: RunningConnector) -> None:
    if connector.process is not None and connector.process.poll() is None:
        os.kill(connector.process.pid, signal.SIGCONT)
