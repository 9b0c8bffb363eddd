"""A house whose source is a fleet's connector, played by the test."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Callable

from agent.config.settings import Fleet, Keys
from agent.fleet.host.signer import HostSigner
from agent.fleet.messages import lease_exchange
from agent.fleet.messages.signing import PrivateKey
from agent.leases.lease import Horizon
from agent.sources.feed.fleet import FleetRole
from agent.sources.feed.messages import Deliver, Health, Hello
from tests.fleet.sample_messages import HOST, ISSUER
from tests.parts.daemon import INSTANCE_ID
from tests.sources.feed.house import House, Peer

NEXT = PrivateKey.generate()
STRANGER = PrivateKey.generate()


class FleetHouse(House):
    """A house whose source is a fleet's connector, with two issuers.

    `folder` has the host's own files, too.
    """

    def __init__(self, folder: Path, keys: Keys = Keys()) -> None:  # noqa: B008
        super().__init__(folder, keys)
        (folder / "host.key").write_text(HOST.dump())
        (folder / "host.cert").write_text("the certificate\n")
        # As after a restart with a journal: no mark has been lost.
        self.memory.resume(Horizon())
        issuers = (str(ISSUER.public), str(NEXT.public))
        where = Fleet(
            (), issuers, certificate=str(folder / "host.cert"),
            host_keys=(str(folder / "ssh_host_*.pub"),), key=str(folder / "host.key"),
        )  # fmt: skip
        self.fleet = FleetRole(self.context, self.steps, HostSigner(where), "1.2.3", str(folder))

    async def join(self) -> Peer:
        """A connector that is on the bus."""
        self.feed._roles = {"fleet": self.fleet}
        peer = await self.connect()
        peer.say(Hello("fleet"), Health(True))
        while self.fleet.describe()["Problem"] is not None:
            await asyncio.sleep(0.001)
        return peer

    async def tell(self, peer: Peer, envelope: bytes) -> Any:
        """The daemon's answer to a message, with its signature verified."""
        peer.say(Deliver(7, envelope))
        heard = await peer.hear()
        assert heard["reply"] == 7
        answer, shown = lease_exchange.open_reply(base64.b64decode(heard["message"]))
        assert shown == b"the certificate"
        digest = lease_exchange.digest(envelope)
        return lease_exchange.open_answer(answer, INSTANCE_ID, HOST.public, digest)


def at_fleet(
    tmp_path: Path, course: Callable[[FleetHouse, Peer], Awaitable[Any]], **more: Any
) -> None:
    """Run a course of events with an attached connector."""

    async def run() -> None:
        at = FleetHouse(tmp_path, **more)
        at.start()
        peer = await at.join()
        try:
            await course(at, peer)
        finally:
            peer.writer.close()
            await at.feed.stop()
            await at.lookups.stop()
            at.store.close()

    asyncio.run(run())
