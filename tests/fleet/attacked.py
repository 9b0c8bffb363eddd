"""A whole fleet, and an attacker who has taken over its bus (the thief)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agent.fleet.messages import lease_exchange
from tests.parts import signed
from tests.parts.bus import PATIENCE
from tests.parts.daemon import INSTANCE_ID
from tests.parts.fleet_host import FleetHost
from tests.parts.host import work_directory
from tests.parts.raw import Answer
from tests.parts.stolen_bus import Heard, StolenBus
from tests.parts.whole_fleet import WholeFleet, live

OTHER = "i-00000000000000002"


class Attacked:
    """A whole fleet, a second host of it, and the thief."""

    def __init__(self, fleet: WholeFleet, other: FleetHost, thief: StolenBus) -> None:
        self.fleet = fleet
        self.other = other
        self.thief = thief

    def push(self, user: str, host: str = INSTANCE_ID) -> Answer:
        """Push through the gateway."""
        return self.fleet.gateway.push(InstanceOSUser=user, InstanceId=host)

    def push_until_taken(self, user: str, host: str = INSTANCE_ID) -> Answer:
        """Push, and repeat it as a client does while the service is not available."""
        end = time.monotonic() + PATIENCE
        while (answer := self.push(user, host)).code != "":
            assert answer.code == "ServiceUnavailable"
            assert time.monotonic() < end, "the host takes nothing any more"
            time.sleep(0.1)
        return answer

    def capture(self, user: str, host: str = INSTANCE_ID) -> tuple[Heard, Heard]:
        """Push, and return the lease and its acknowledgement as the thief captured them."""
        request_id = self.push_until_taken(user, host).request_id.encode()
        asked = self.thief.await_message(request_id)
        return asked, self.thief.await_answer(asked)

    def capture_question(self, user: str) -> Heard:
        """Ask the host through the gateway about its pushes for a user; return the question."""
        body = json.dumps({"InstanceId": INSTANCE_ID, "OSUser": user}).encode()
        call = signed.Call(body=body).having("X-Amz-Target", "Sixtykey.Explain")
        assert self.fleet.gateway.send(signed.sign(call)).status == 200
        return self.thief.await_message(b'"kind":"question"')

    def left(self) -> dict[str, float]:
        """The remaining lifetime of each live key of the host in seconds, by its request id."""
        return {each["RequestId"]: each["SecondsLeft"] for each in live(self.fleet.member)}

    def check_nothing_new(self, before: dict[str, float]) -> None:
        """Check that no key is live that was not before, and that none lives longer than it did."""
        now = self.left()
        assert now.keys() <= before.keys()
        assert all(before[name] >= left for name, left in now.items())

    def ask(self, envelope: bytes) -> dict[str, Any]:
        """The content of the host's answer to a message."""
        answer, _ = lease_exchange.open_reply(self.thief.ask(INSTANCE_ID, envelope))
        content: dict[str, Any] = json.loads(json.loads(answer)["body"])
        return content


@contextmanager
def attack() -> Iterator[Attacked]:
    """A whole fleet with an attacker, for the duration of the block."""
    with (
        work_directory() as directory,
        WholeFleet(directory) as fleet,
        FleetHost(fleet.home, directory, OTHER) as other,
        StolenBus(fleet.bus) as thief,
    ):
        yield Attacked(fleet, other, thief)
