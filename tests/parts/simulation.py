"""Simulated hosts of a home's fleet, in as many processes as descriptors and CPUs require."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, Optional

from agent.fleet.bus import nkeys
from agent.fleet.bus.nkeys import KeyPair
from agent.fleet.home.home import Home
from tests.parts.host import ROOT
from tests.parts.part import Part
from tests.parts.simulated_host import Keys, instance_id

FIRST = 0x5000_0000
"""The number of the first simulated host: its instance id is that of nobody else."""


class Simulation(Part):
    """Processes with simulated hosts, inside the `with` block; at first they have none.

    `address`: host and port of the servers. `ca`: the authority's file, or empty for no TLS. Each
    process has different hosts and a different source address: 127.0.1.1, 127.0.2.1, ….
    """

    def __init__(
        self, home: Home, address: Sequence[tuple[str, int]], processes: int = 1, ca: str = ""
    ) -> None:
        signer = KeyPair.parse(home.file("host-signer.nk"), nkeys.ACCOUNT)
        self.keys = Keys(home.issuer(), signer, home.facts.account.identity, int(time.time()))
        self.count = 0
        self._address = list(address)
        self._ca = ca
        self._processes: list[subprocess.Popen[bytes]] = []
        self._wanted = processes

    def begin(self) -> None:
        """Start the processes."""
        for number in range(self._wanted):
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.parts.simulated_hosts"],
                cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
            self._processes.append(process)
            settings = {
                "servers": self._address, "source": f"127.0.{number + 1}.1",
                "first": self._number(number, 0), "keys": self.keys.dump(), "ca": self._ca,
            }  # fmt: skip
            self._say(process, settings)

    def finish(self) -> None:
        """End them."""
        for process in self._processes:
            process.kill()
            process.communicate()

    def grow(self, count: int, within: float = 0.0) -> None:
        """Connect this many hosts in all, evenly, the new ones spread over this many seconds."""
        share = -(-count // self._wanted)
        self.count = share * self._wanted
        self._ask({"count": share, "within": within})

    def instances(self) -> list[str]:
        """The instance ids of all hosts."""
        share = self.count // self._wanted
        numbers = (self._number(p, n) for p in range(self._wanted) for n in range(share))
        return [instance_id(number) for number in numbers]

    @property
    def up(self) -> int:
        """The number of hosts that are connected and subscribed."""
        return sum(int(each["up"]) for each in self._ask({}))

    def missing(self) -> list[str]:
        """The instance ids of the hosts that are not connected now."""
        found = [number for each in self._ask({"missing": True}) for number in each["missing"]]
        return [instance_id(number) for number in found]

    def await_all(self, patience: float) -> float:
        """Wait until all are connected; return the seconds it took. Raises RuntimeError."""
        began = time.monotonic()
        while (up := self.up) < self.count:
            if time.monotonic() > began + patience:
                raise RuntimeError(f"{up} of {self.count} are connected after {patience:.0f} s")
            time.sleep(0.1)
        return time.monotonic() - began

    def drop(self) -> None:
        """Close the connections of all hosts now."""
        self._ask({"drop": True})

    def acknowledged(self) -> dict[str, str]:
        """The request ids of all acknowledged pushes, and the instance of each."""
        found: dict[str, str] = {}
        for each in self._ask({"acked": True}):
            found.update(each["acked"])
        return found

    def _ask(self, question: dict[str, Any]) -> list[dict[str, Any]]:
        for process in self._processes:
            self._say(process, question)
        answers = []
        for process in self._processes:
            assert process.stdout is not None
            line: Optional[bytes] = process.stdout.readline()
            if not line:
                raise RuntimeError("a process with simulated hosts has ended")
            answers.append(json.loads(line))
        return answers

    @staticmethod
    def _say(process: subprocess.Popen[bytes], words: dict[str, Any]) -> None:
        assert process.stdin is not None
        process.stdin.write(json.dumps(words).encode() + b"\n")
        process.stdin.flush()

    @staticmethod
    def _number(process: int, host: int) -> int:
        return FIRST + (process << 20) + host
