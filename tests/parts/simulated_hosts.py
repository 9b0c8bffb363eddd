"""Many simulated hosts in one process: `python -m tests.parts.simulated_hosts`, steered by lines.

stdin has one JSON object a line: first the settings, then requests; each is answered by one line on
stdout. It uses epoll directly and no asyncio, so that a host is an object of five members and a
descriptor.
"""

from __future__ import annotations

import gc
import heapq
import json
import os
import random
import select
import ssl
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Optional

from agent.config.fleet_limits import FLEET
from agent.fleet.bus.connection import _pause
from tests.parts.simulated_host import Keys, Lost, SimulatedHost


class SimulatedHosts:
    """Hosts `first` to `first + count`, each at a randomly chosen server.

    A lost connection is made again as the connector does: after a random wait, at another server,
    with longer waits while no server accepts it.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._servers = [(str(host), int(port)) for host, port in settings["servers"]]
        self._source = str(settings["source"])
        self._keys = Keys.load(settings["keys"])
        self._first = int(settings["first"])
        self._tls: Optional[ssl.SSLContext] = None
        if settings["ca"]:
            self._tls = ssl.create_default_context(cafile=settings["ca"])
        self._epoll = select.epoll()
        self._hosts: dict[int, SimulatedHost] = {}
        self._by_descriptor: dict[int, SimulatedHost] = {}
        self._failures: dict[int, int] = {}
        # For each host, the servers that it has not tried yet in this round.
        self._left: dict[int, list[tuple[str, int]]] = {}
        self._due: list[tuple[float, int]] = []
        # Attempts to connect, the oldest first.
        self._attempts: deque[tuple[float, SimulatedHost]] = deque()
        self._up: set[int] = set()
        self._acked: dict[str, str] = {}
        self._rest = b""
        self.connections = 0

    def run(self) -> None:
        """Run until stdin ends."""
        self._epoll.register(0, select.EPOLLIN)
        os.set_blocking(0, False)
        while True:
            for descriptor, _ in self._epoll.poll(self._wait(), 512):
                if descriptor == 0:
                    if not self._hear():
                        return
                    continue
                host = self._by_descriptor.get(descriptor)
                if host is not None:
                    self._read(host)
            self._connect_due()
            self._give_up_late()

    def _wait(self) -> float:
        return max(0.0, min(self._due[0][0] - time.monotonic(), 1.0)) if self._due else 1.0

    def _read(self, host: SimulatedHost) -> None:
        descriptor = host.sock.fileno()
        try:
            host.read(self._tls)
        except Lost:
            self._lose(host, descriptor)
            return
        if host.sock.fileno() != descriptor:
            raise RuntimeError("a descriptor has changed")
        if host.up and host.number not in self._up:
            self._up.add(host.number)
            self._failures[host.number] = 0
            self.connections += 1

    def _lose(self, host: SimulatedHost, descriptor: int) -> None:
        """Schedule the reconnection as agent.fleet.bus.connection does.

        The next server is tried at once; a random wait follows a lost connection, and a growing one
        follows a round without success.
        """
        del self._by_descriptor[descriptor]
        host.sock.close()
        wait = random.uniform(0, FLEET.reconnect_seconds) if host.number in self._up else 0.0
        self._up.discard(host.number)
        if not self._left[host.number]:
            self._failures[host.number] += 1
            wait += _pause(self._failures[host.number])
        heapq.heappush(self._due, (time.monotonic() + wait, host.number))

    def _connect_due(self) -> None:
        now = time.monotonic()
        # A few at a time, so that connected hosts are answered meanwhile.
        for _ in range(64):
            if not self._due or self._due[0][0] > now:
                return
            host = self._hosts[heapq.heappop(self._due)[1]]
            left = self._left[host.number]
            if not left:
                left.extend(random.sample(self._servers, len(self._servers)))
            host.connect(left.pop(), self._source)
            self._by_descriptor[host.sock.fileno()] = host
            self._epoll.register(host.sock.fileno(), select.EPOLLIN)
            self._attempts.append((host.began, host))

    def _give_up_late(self) -> None:
        """End connections on which the server has said nothing for as long as the connector waits.

        A server whose queue was full may know nothing of a connection that its client has.
        """
        late = time.monotonic() - 2 * FLEET.connect_seconds
        while self._attempts and self._attempts[0][0] < late:
            began, host = self._attempts.popleft()
            descriptor = host.sock.fileno()
            if host.began == began and not host.greeted and descriptor in self._by_descriptor:
                self._lose(host, descriptor)

    def _hear(self) -> bool:
        """Answer the requests on stdin; return False at its end."""
        data = os.read(0, 65_536)
        if not data:
            return False
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            answer = self._obey(json.loads(line))
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
        return True

    def _obey(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        if "count" in asked:
            self._grow(int(asked["count"]), float(asked.get("within", 0.0)))
        if "servers" in asked:
            self._servers = [(str(host), int(port)) for host, port in asked["servers"]]
        if asked.get("drop"):
            for descriptor, host in [*self._by_descriptor.items()]:
                self._lose(host, descriptor)
        acked = self._acked if asked.get("acked") else {}
        missing = sorted(self._hosts.keys() - self._up) if asked.get("missing") else []
        told = {"up": len(self._up), "connections": self.connections}
        return {**told, "acked": acked, "missing": missing}

    def _grow(self, count: int, within: float) -> None:
        """Connect this many hosts, the new ones spread over this many seconds."""
        for number in range(self._first + len(self._hosts), self._first + count):
            self._hosts[number] = SimulatedHost(number, self._keys, self._acked.__setitem__)
            self._failures[number], self._left[number] = 0, []
            heapq.heappush(self._due, (time.monotonic() + random.uniform(0, within), number))


def main() -> None:
    """Serve until stdin ends."""
    line = b""
    # Byte by byte, so that the lines after it are left for epoll.
    while not line.endswith(b"\n"):
        line += os.read(0, 1)
    # Nothing here refers back to itself, and a search through all hosts would delay their answers.
    gc.disable()
    SimulatedHosts(json.loads(line)).run()


if __name__ == "__main__":
    main()
