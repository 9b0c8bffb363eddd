"""A whole fleet: servers, gateways, and hosts with the real daemon and connector."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Optional

from tests.parts import signed
from tests.parts.bus import PATIENCE, Bus, gateway_url, make_home
from tests.parts.daemon import INSTANCE_ID, merged
from tests.parts.ec2_process import lookup
from tests.parts.fleet_member import FleetMember
from tests.parts.gateway import RunningGateway
from tests.parts.part import Part
from tests.parts.raw import Answer, Raw

RATE = {"per_credential": 10_000, "total": 10_000}
"""Pushes a second that a host takes by itself: as a gateway's, whatever a test likes."""


class WholeFleet(Part):
    """Servers, gateways and members below `directory`, running inside the `with` block.

    `instances` are the members' ids. `config` updates each daemon's, `environments` are added to
    the gateways' environments, one for each.
    """

    def __init__(
        self,
        directory: Path,
        *,
        instances: Sequence[str] = (INSTANCE_ID,),
        servers: int = 1,
        gateways: int = 2,
        config: Optional[dict[str, Any]] = None,
        environments: Sequence[dict[str, str]] = (),
    ) -> None:
        self._directory = directory
        self._instances = instances
        self._config = merged({"push": {"rate": RATE}}, config or {})
        self._stack = ExitStack()
        urls = [gateway_url() for _ in range(gateways)]
        self.home = make_home(directory, servers, urls)
        self.bus = Bus(self.home, directory)
        extra = [*environments, *[{}] * gateways]
        self.gateways = [
            RunningGateway(directory / f"gateway-{n}", self.home, url, environment=extra[n])
            for n, url in enumerate(urls)
        ]
        self.members: list[FleetMember] = []

    def begin(self) -> None:
        """Start the servers and the gateways, and have the members join."""
        for part in (self.bus, *self.gateways):
            self._stack.enter_context(part)
        for gateway in self.gateways:
            gateway.await_bus()
        for number, instance in enumerate(self._instances):
            place, name = self._directory / f"host-{number}", f"host-{number}"
            member = FleetMember(place, self.gateways[0], instance, name=name, config=self._config)
            self.members.append(self._stack.enter_context(member))

    def finish(self) -> None:
        """Stop everything."""
        self._stack.close()

    def push_until_heard(self, gateway: RunningGateway, call: signed.Call) -> Answer:
        """Push as a client does, with retries while the service is unavailable."""
        end = time.monotonic() + PATIENCE
        while True:
            answer = gateway.send(call)
            if answer.code != "ServiceUnavailable" or time.monotonic() > end:
                return answer
            time.sleep(0.05)

    @property
    def gateway(self) -> RunningGateway:
        """The first gateway."""
        return self.gateways[0]

    @property
    def member(self) -> FleetMember:
        """The first member."""
        return self.members[0]


def served(member: FleetMember, user: str) -> str:
    """The lookup socket's answer for a user, without the end mark."""
    answer = lookup(member.daemon, f"{user}\n").decode()
    assert answer.endswith("\n"), "cut off"
    return answer[:-1]


def live(member: FleetMember) -> list[dict[str, Any]]:
    """The host's live leases, as its operator lists them."""
    call = signed.Call(body=b"{}").having("X-Amz-Target", "Sixtykey.List")
    with Raw(member.daemon.push_socket) as raw:
        found: list[dict[str, Any]] = raw.send(call.raw()).answer().body["Leases"]
    return found


def push_locally(member: FleetMember, user: str) -> str:
    """Push through the host's endpoint and its push socket; return the endpoint's request id."""
    call = signed.push(InstanceOSUser=user, InstanceId=member.instance)
    with Raw(member.daemon.push_socket) as raw:
        answer = raw.send(call.raw()).answer()
        assert answer.code == "", answer
    with Raw(("127.0.0.1", member.daemon.http_port)) as raw:
        answer = raw.send(signed.sign(call).raw()).answer()
        assert answer.code == "", answer
    return answer.request_id


def revoke(member: FleetMember, user: str) -> None:
    """Revoke the user's live keys, as the host's operator does."""
    body = json.dumps({"OSUser": user}).encode()
    call = signed.Call(body=body).having("X-Amz-Target", "Sixtykey.Revoke")
    with Raw(member.daemon.push_socket) as raw:
        assert raw.send(call.raw()).answer().status == 200
