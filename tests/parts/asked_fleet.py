"""A fleet in which principals ask why a push was refused: a whole host, and a stub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Callable

from agent.commands.keyfile import fingerprint_of
from agent.fleet.messages import lease_exchange
from agent.fleet.messages.explanation import Explanation, Question
from tests.parts import signed
from tests.parts.bus import Bus, gateway_url, make_home
from tests.parts.daemon import CREDENTIAL, INSTANCE_ID, ZONE
from tests.parts.fleet_host import FleetHost
from tests.parts.fleet_member import FleetMember, join_token
from tests.parts.gateway import RunningGateway
from tests.parts.host import work_directory
from tests.parts.raw import Answer

OWN = CREDENTIAL["access_key_id"]
ABSENT, STUB = "i-00000000000000009", "i-00000000000000002"
CREDENTIALS = [
    CREDENTIAL,
    {**CREDENTIAL, "access_key_id": "AKIASECOND"},
    {**CREDENTIAL, "access_key_id": "AKIAWEBONLY",
     "allow": {"os_users": ["*"], "tags": {"role": ["web"]}}},
    {**CREDENTIAL, "access_key_id": "AKIADBONLY",
     "allow": {"os_users": ["*"], "tags": {"role": ["db"]}}},
    {**CREDENTIAL, "access_key_id": "AKIAOTHERS",
     "allow": {"os_users": ["*"], "instances": ["i-0000*"]}},
    {**CREDENTIAL, "access_key_id": "AKIADEPLOY", "allow": {"os_users": ["deploy"]}},
    {**CREDENTIAL, "access_key_id": "AKIAELSEWHERE",
     "allow": {"os_users": ["*"], "sources": ["192.0.2.0/24"]}},
    {**CREDENTIAL, "access_key_id": "AKIATAGSAFAR",
     "allow": {"os_users": ["*"], "sources": ["192.0.2.0/24"], "tags": {"role": ["web"]}}},
    {**CREDENTIAL, "access_key_id": "AKIATAGSELSE",
     "allow": {"os_users": ["*"], "instances": ["i-9999*"], "tags": {"role": ["web"]}}},
]  # fmt: skip


class AskedFleet:
    """A gateway, a whole host with the tag role=web, and one whose answers a test sets."""

    def __init__(
        self, bus: Bus, gateway: RunningGateway, member: FleetMember, stub: FleetHost
    ) -> None:
        self.bus = bus
        self.gateway = gateway
        self.member = member
        self.stub = stub

    def why(self, key: str = OWN, instance: str = INSTANCE_ID, **members: Any) -> Answer:
        """The answer to Sixtykey.Explain."""
        body = {"InstanceId": instance, "OSUser": "ec2-user", **members}
        call = signed.Call(body=json.dumps(body).encode())
        call = call.having("X-Amz-Target", "Sixtykey.Explain")
        return self.gateway.send(signed.sign(call, signed.Signer(key=key)))

    def push(self, key: str, user: str) -> str:
        """Push a new key as this principal; return its fingerprint."""
        line = signed.fresh_key()
        call = signed.push(InstanceOSUser=user, SSHPublicKey=line)
        answer = self.gateway.send(signed.sign(call, signed.Signer(key=key)))
        assert answer.code == "", answer
        return fingerprint_of(line)

    def question(self, answer: Callable[[], Answer]) -> Question:
        """The question that a call sends to the stub."""
        answer()
        return Question.open(self.stub.received[-1], set(self.gateway.home.facts.issuers))


@contextmanager
def asked_fleet() -> Iterator[AskedFleet]:
    """A running fleet; the principals are those of CREDENTIALS."""
    with work_directory() as directory:
        home = make_home(directory, gateways=[gateway_url()])
        with (
            Bus(home, directory) as bus,
            RunningGateway(directory / "gw", home, credentials=CREDENTIALS) as gateway,
            FleetHost(home, directory, STUB) as stub,
        ):
            gateway.await_bus()
            token = join_token(gateway, "--tag", "role=web")
            with FleetMember(directory / "host", gateway, token=token) as member:
                yield AskedFleet(bus, gateway, member, stub)


def explain(stub: FleetHost, sealed: bytes, **changes: Any) -> bytes:
    """The explanation of a correct host, with these changes."""
    asked = Question.open(sealed, set(stub.home.facts.issuers))
    decision = {
        "event": "push", "outcome": "allowed", "age": 1.0, "times": 1,
        "principal": asked.principal, "os_user": asked.os_user,
    }  # fmt: skip
    decision.update(changes.pop("decision", {}))
    found = Explanation(lease_exchange.digest(sealed), stub.instance, ZONE, [decision], True)
    return stub.reply(replace(found, **changes).seal(stub.keys.host))
