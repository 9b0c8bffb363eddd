"""Pushes while servers, gateways, connectors and daemons are killed: every 200 must be true.

`python -m tests.fleet.storm --pushes N`. As clients do, a push is sent again, through any
gateway, until it gets an answer other than "try again". Each 200 is compared with the host's
lookup socket at once, or as soon as the daemon is back, which it has to be while the key lives.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

from agent.leases.keys import PublicKey
from agent.lookup.server import END_MARK
from tests.faults.load import MANY, boottime
from tests.parts import signed
from tests.parts.ec2_process import lookup
from tests.parts.fleet_member import FleetMember
from tests.parts.gateway import RunningGateway
from tests.parts.host import work_directory
from tests.parts.leases import ed25519_key
from tests.parts.raw import Answer, Raw
from tests.parts.whole_fleet import WholeFleet

INSTANCES = ("i-00000000000000001", "i-00000000000000002", "i-00000000000000003")
LIFETIME = 60.0
# How often a push is sent before it is given up, and the longest pause (s) before the next time.
TRIES, PAUSE = 6, 0.3
PUSHERS, MANY_PUSHERS = 6, 20
# The longest time (s) in which a daemon must be back on a busy machine.
BACK = 40.0


@dataclass
class Tally:
    """The last answers of all pushes, the false acknowledgements in words, and what was killed."""

    outcomes: Counter[str] = field(default_factory=Counter)
    killed: Counter[str] = field(default_factory=Counter)
    false: list[str] = field(default_factory=list)
    after_restart: int = 0
    replayed: int = 0

    @property
    def acknowledged(self) -> int:
        """The number of pushes that ended with 200."""
        return self.outcomes["200"]


class Pusher:
    """Pushes fresh keys to random hosts, and checks that each acknowledged key is served."""

    def __init__(self, fleet: WholeFleet, tally: Tally, number: int) -> None:
        self._fleet = fleet
        self._tally = tally
        self._chance = random.Random(number)
        self._first = (os.getpid() << 40) + (number << 32)
        self._raws: dict[str, Raw] = {}
        self._user = f"user{number}"

    def push(self, number: int) -> None:
        """Push one key until there is a final answer."""
        member, key = self._chance.choice(self._fleet.members), ed25519_key(self._first + number)
        call = signed.push(
            InstanceId=member.instance, InstanceOSUser=self._user,
            SSHPublicKey=f"{key.type} {key.base64}",
        )  # fmt: skip
        sent, call = boottime(), signed.sign(call)
        code = ""
        for tried in range(TRIES):
            answer = self._send(call)
            code = "no answer" if answer is None else answer.code
            if answer is not None and answer.status == 200:
                self._tally.outcomes["200"] += 1
                self._tally.replayed += tried > 0
                self._check(member, key, answer.request_id, sent)
                return
            time.sleep(self._chance.uniform(0, PAUSE))
        self._tally.outcomes[code] += 1

    def _send(self, call: signed.Call) -> Optional[Answer]:
        """The answer of a random gateway, or None if the connection breaks."""
        gateway = self._chance.choice(self._fleet.gateways)
        try:
            raw = self._raws.get(gateway.url)
            if raw is None:
                raw = self._raws[gateway.url] = gateway.connection()
            return raw.send(call.raw()).answer()
        except (OSError, EOFError):
            self._forget(gateway)
            return None

    def _forget(self, gateway: RunningGateway) -> None:
        raw = self._raws.pop(gateway.url, None)
        if raw is not None:
            raw.close()

    def _check(self, member: FleetMember, key: PublicKey, request_id: str, sent: float) -> None:
        """Check that an acknowledged key is served now, or once its daemon is back."""
        end, waited = boottime() + BACK, False
        line = f"{self._user} {key.fingerprint}\n"
        while (found := _served(member, line)) is None:
            waited = True
            if boottime() > end:
                self._tally.false.append(f"{member.instance}: its daemon does not come back")
                return
            time.sleep(0.02)
        self._tally.after_restart += waited
        if request_id not in found.decode() and boottime() < sent + LIFETIME:
            self._tally.false.append(f"{member.instance} does not serve {request_id}: {found!r}")

    def close(self) -> None:
        """Close the connections."""
        for raw in self._raws.values():
            raw.close()


def _served(member: FleetMember, line: str) -> Optional[bytes]:
    """The whole answer of the lookup socket, or None while no daemon answers."""
    try:
        answer = lookup(member.daemon, line)
    except OSError:
        return None
    return answer if answer.endswith(END_MARK) else None


class Killer:
    """Kills and restarts processes, one after the other, until it is told to end."""

    def __init__(self, fleet: WholeFleet, tally: Tally, seed: int) -> None:
        self._fleet = fleet
        self._tally = tally
        self._chance = random.Random(seed)
        self.ending = threading.Event()

    def run(self, victims: Sequence[Callable[[], None]], pause: float) -> None:
        """Kill a random victim after a random pause of at most `pause` seconds, until the end."""
        while not self.ending.wait(self._chance.uniform(0, pause)):
            self._chance.choice(victims)()

    def _away(self) -> None:
        time.sleep(self._chance.uniform(0, 0.5))

    def server(self) -> None:
        """Kill and restart a server of the bus."""
        server = self._chance.choice(self._fleet.bus.servers)
        server.kill()
        self._tally.killed["servers"] += 1
        self._away()
        server.start()

    def gateway(self) -> None:
        """Kill and restart a gateway."""
        gateway = self._chance.choice(self._fleet.gateways)
        gateway.kill()
        self._tally.killed["gateways"] += 1
        self._away()
        gateway.start()

    def connector(self) -> None:
        """Kill and restart a host's connector."""
        connector = self._chance.choice(self._fleet.members).connector
        connector.kill()
        self._tally.killed["connectors"] += 1
        self._away()
        connector.begin(wait=False)

    def daemon(self) -> None:
        """Kill and restart a host's daemon."""
        daemon = self._chance.choice(self._fleet.members).daemon
        daemon.kill()
        self._tally.killed["daemons"] += 1
        self._away()
        daemon.start()


def storm(
    directory: Path, pushes: int, seed: int = 0, *, pause: float = 1.0, pushers: int = PUSHERS
) -> Tally:
    """Send this many pushes, while processes of each kind are killed again and again.

    `pushers`: how many push at the same time. `pause`: the longest time (s) between two kills
    in the bus, and between two on the hosts.
    """
    tally = Tally()
    fleet = WholeFleet(directory, instances=INSTANCES, servers=3, config=MANY)
    with fleet, ThreadPoolExecutor(pushers + 2) as pool:
        bus, hosts = Killer(fleet, tally, seed), Killer(fleet, tally, seed + 1)
        killing = [
            pool.submit(bus.run, [bus.server, bus.gateway], pause),
            pool.submit(hosts.run, [hosts.connector, hosts.daemon], pause),
        ]
        try:
            share = -(-pushes // pushers)
            pushing = [pool.submit(_push_all, fleet, tally, n, share) for n in range(pushers)]
            for each in pushing:
                each.result()
        finally:
            bus.ending.set()
            hosts.ending.set()
        for each in killing:
            each.result()
    return tally


def _push_all(fleet: WholeFleet, tally: Tally, number: int, count: int) -> None:
    pusher = Pusher(fleet, tally, number)
    try:
        for one in range(count):
            pusher.push(one)
    finally:
        pusher.close()


def main() -> int:
    """Run the storm; return 1 if an acknowledgement was false."""
    parser = argparse.ArgumentParser(prog="tests.fleet.storm")
    parser.add_argument("--pushes", type=int, default=10_000)
    pushes = parser.parse_args().pushes
    began = time.monotonic()
    with work_directory() as directory:
        tally = storm(directory, pushes, int(time.time()), pushers=MANY_PUSHERS)
    told = {
        "pushes": sum(tally.outcomes.values()), "outcomes": tally.outcomes,
        "killed": tally.killed, "sent_again": tally.replayed,
        "served_after_a_restart": tally.after_restart, "false": len(tally.false),
        "seconds": round(time.monotonic() - began),
    }  # fmt: skip
    print(json.dumps(told), *tally.false, sep="\n")
    return 1 if tally.false else 0


if __name__ == "__main__":
    sys.exit(main())
