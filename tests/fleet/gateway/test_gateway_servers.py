"""A gateway follows the list of the bus's servers without a restart."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from agent.fleet.bus.servers import Server
from agent.fleet.home.home import Home
from tests.parts.bus import PATIENCE, Bus, RunningServer, gateway_url, lasting_port, make_home
from tests.parts.fleet_host import FleetHost
from tests.parts.gateway import RunningGateway
from tests.parts.host import work_directory


@pytest.fixture(scope="module")
def fleet() -> Iterator[tuple[Bus, RunningGateway]]:
    """A fleet with one server, to which its gateway is connected."""
    with work_directory() as directory:
        home = make_home(directory, gateways=[gateway_url()])
        with Bus(home, directory) as bus, RunningGateway(directory / "gw", home) as gateway:
            gateway.await_bus()
            yield bus, gateway


def test_a_reload_moves_a_gateway_to_the_servers_of_now(fleet: tuple[Bus, RunningGateway]) -> None:
    """After a reload a gateway leaves a server that was taken out, for one that was added.

    The old server still runs, and pushes go through the new one.
    """
    bus, gateway = fleet
    directory = bus.servers[0].directory
    home = Home(gateway.home.folder)
    added = Server("127.0.0.1", lasting_port(), lasting_port())
    home.write_server(added, time.time())
    server = RunningServer(home, added, directory)
    server.start()
    try:
        home.save(replace(home.facts, servers=(added,)))
        gateway.reload()
        end = time.monotonic() + PATIENCE
        while f"bus: connected to 127.0.0.1:{added.port}" not in gateway.log():
            assert time.monotonic() < end, gateway.log()
            time.sleep(0.1)
        with FleetHost(home, directory, "i-00000000000000001") as host:
            assert gateway.push(InstanceId=host.instance).code == ""
        # A reload that changes nothing leaves the connection alone.
        gateway.reload()
        assert gateway.push(InstanceId="i-00000000000000009").code == "EC2InstanceNotFoundException"
        assert gateway.log().count("bus: connected to") == 2
    finally:
        server.stop()
