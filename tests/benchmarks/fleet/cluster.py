"""A fleet as large as the machine allows: servers, a gateway, real and simulated hosts."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.faults.load import MANY, resident_mib
from tests.parts.bus import Bus, RunningServer, gateway_url, make_home
from tests.parts.daemon import merged
from tests.parts.fleet_member import FleetMember
from tests.parts.gateway import RunningGateway
from tests.parts.host import work_directory
from tests.parts.part import Part
from tests.parts.raw import Raw
from tests.parts.simulation import Simulation

# The descriptors that a process may open here, and those a server needs besides its clients.
DESCRIPTORS, OWN = 20_000, 200
REAL = ("i-00000000000000001", "i-00000000000000002")
_TLS = re.compile(r"^tls \{.*?^\}\n", re.MULTILINE | re.DOTALL)
# Without asyncio's debug mode, which the tests' daemons use.
PLAIN = {"PYTHONASYNCIODEBUG": ""}


def servers_for(hosts: int) -> int:
    """The number of servers of which one may fail, by their descriptors."""
    return max(3, -(-hosts // (DESCRIPTORS - OWN)) + 1)


class Cluster(Part):
    """All of it, running inside the `with` block; there are no simulated hosts at first.

    `tls`: between servers and their clients. Without it the machine allows more clients.
    """

    def __init__(self, servers: int, *, tls: bool, members: bool = True) -> None:
        self._stack = ExitStack()
        self.directory = self._stack.enter_context(work_directory())
        self.home = make_home(self.directory, servers, [gateway_url()])
        self.bus = Bus(self.home, self.directory)
        scheme = "tls" if tls else "nats"
        self.urls = [f"{scheme}://127.0.0.1:{each.port}" for each in self.home.facts.servers]
        if not tls:
            for each in self.bus.servers:
                _drop_tls(each)
        config = {
            "bus": {"servers": self.urls},
            "rate": {"per_credential": 1_000_000, "total": 1_000_000},
        }
        self.gateway = RunningGateway(
            self.directory / "gateway-1", self.home, config=config, environment=PLAIN
        )
        address = [("127.0.0.1", each.port) for each in self.home.facts.servers]
        ca = str(Path(self.home.folder) / "ca.pem") if tls else ""
        self.simulation = Simulation(self.home, address, servers, ca)
        self.members: list[FleetMember] = []
        self._wanted: Sequence[str] = REAL if members else ()

    def begin(self) -> None:
        """Start servers, gateway, real hosts, and processes for simulated ones."""
        for part in (self.bus, self.gateway, self.simulation):
            self._stack.enter_context(part)
        self.gateway.await_bus()
        for number, instance in enumerate(self._wanted):
            self._join(number, instance)

    def _join(self, number: int, instance: str) -> None:
        memory = self._stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm"))
        # The journal is on tmpfs, as in the packages.
        own: dict[str, Any] = {
            "journal": f"{memory}/leases.db",
            "fleet": {"servers": self.urls},
            # As every host that is pushed to over a network, and as the gateway.
            "push": {"http": {"tls": self.gateway.defaults()["http"]["tls"]}},
        }
        folder = self.directory / f"host-{number}"
        member = FleetMember(
            folder, self.gateway, instance, name=f"real-{number}", config=merged(MANY, own)
        )
        self.members.append(self._stack.enter_context(member))

    def finish(self) -> None:
        """Stop everything."""
        self._stack.close()

    def grow(self, count: int, patience: float = 600.0) -> float:
        """Connect this many simulated hosts; return the seconds it took."""
        new = count - self.simulation.count
        self.simulation.grow(count, within=new / 1500)
        return self.simulation.await_all(patience)

    def direct(self, member: FleetMember) -> Raw:
        """A new connection to a real host itself, over TLS like those to the gateway."""
        return Raw(("127.0.0.1", member.daemon.http_port), tls=self.gateway.tls())

    def resident_mib(self) -> float:
        """The memory of all servers."""
        processes = [each.process for each in self.bus.servers]
        return sum(resident_mib(each.pid) for each in processes if each is not None)

    def settle(self) -> None:
        """Wait until the servers have exchanged state and collected garbage."""
        time.sleep(5.0)


def _drop_tls(server: RunningServer) -> None:
    path = server.folder / "nats-server.conf"
    text, count = _TLS.subn("", path.read_text(), count=1)
    assert count == 1
    path.write_text(text)
