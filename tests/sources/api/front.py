"""The whole API in this process, with nothing replaced except the clock."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, Callable, Optional

from agent.audit.history import History
from agent.audit.record import Audit
from agent.config.identity import Identity
from agent.config.limits import LIMITS
from agent.config.settings import Config, Push
from agent.leases.journal import Journal
from agent.leases.lease import Lease, NotDurable
from agent.leases.store import LeaseStore
from agent.leases.turns import Turns
from agent.sources.api import credentials
from agent.sources.api.host_door import HostDoor
from agent.sources.api.local_door import LocalDoor, OperatorAction
from agent.sources.api.message import Peer, Response
from agent.sources.api.principal import Authenticator
from agent.sources.context import Context
from agent.sources.intake import Intake
from agent.sources.readiness import Readiness
from agent.sources.replay import ReplayMemory
from agent.sources.steps import Steps
from agent.sources.throttle import Throttle
from tests.parts.clock import ManualClock
from tests.parts.daemon import CREDENTIAL, INSTANCE_ID, REGION, ZONE
from tests.parts.signed import LOOPBACK, Call, Signer, sign

LOCAL = Peer("unix", uid=1000)


class Front:
    """Both doors over one intake and the store behind it; `store` replaces the store if given.

    A `journal` is to be opened with `store.open` and `store.load_marks`.
    """

    def __init__(
        self,
        config: Optional[Config] = None,
        *,
        known: Sequence[Mapping[str, Any]] = (CREDENTIAL,),
        store: Optional[Any] = None,
        actions: Optional[Mapping[str, OperatorAction]] = None,
        remembered: int = LIMITS.remembered_marks,
        journal: Optional[Journal] = None,
    ) -> None:
        config = config or Config()
        self.clock = ManualClock()
        self.lines: list[bytes] = []
        self.memory = ReplayMemory(self.clock, remembered)
        self.store = LeaseStore(config.keys, journal, self.memory, self.clock, print, True)
        self.audit = Audit(lambda line, *_: self.lines.append(line), self.clock, History())
        self.turns = Turns(self.clock)
        self.authenticator = Authenticator(
            credentials.parse(json.dumps(known), "x"), REGION, self.clock
        )
        identity = Identity(INSTANCE_ID, ZONE, REGION)
        context = Context(config, identity, self.clock, self.audit, self.turns)
        store = store or self.store
        steps = Steps(Readiness(self.turns, store), self.memory, Intake(context, store))
        throttle = Throttle(config.push.rate, self.clock.boottime())
        self.network = HostDoor(context, steps, throttle, self.authenticator)
        self.local = LocalDoor(context, steps, throttle, actions or {})

    def signed(self, call: Call, **signer: Any) -> Call:
        """The call, signed with the current time; `signer` changes the signer's fields."""
        return sign(call, replace(Signer(at=self.clock.wall()), **signer))

    async def answer(self, call: Call, peer: Peer = LOOPBACK) -> Response:
        """The response to a call that is sent unchanged."""
        door = self.network if peer.uid is None else self.local
        return await door.answer(call.request(peer))

    async def code(self, call: Call, peer: Peer = LOOPBACK) -> str:
        """The error's name, or an empty string on success."""
        return str((await self.answer(call, peer)).body.get("__type", ""))

    def live(self, os_user: str = "ec2-user") -> tuple[Lease, ...]:
        """The user's live leases."""
        return self.store.table.of(os_user)

    def records(self) -> list[dict[str, Any]]:
        """The audit records so far."""
        return [json.loads(line) for line in self.lines]


def pushing(**push: Any) -> Config:
    """The default configuration with these settings of `push`."""
    return Config(push=Push(**push))


class FailingStore:
    """A store that fails: in check() if `unusable`, and with `error` when a lease is added."""

    def __init__(self, unusable: bool = False, error: Optional[Exception] = None) -> None:
        self.unusable = unusable
        self.error = error or NotDurable("full")

    def check(self) -> None:
        """Raise if the store is unusable."""
        if self.unusable:
            raise NotDurable("no journal")

    async def add(self, lease: Lease) -> None:
        """Raise, whatever the lease is."""
        assert lease.line
        raise self.error


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a coroutine test as an ordinary test."""

    def running() -> None:
        asyncio.run(test())

    running.__doc__, running.__name__ = test.__doc__, test.__name__
    return running
