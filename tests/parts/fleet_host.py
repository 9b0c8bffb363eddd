"""A host of a fleet without a daemon: it is on the bus, and the test sets its answers."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any, Callable, Optional

from agent.fleet.bus import jwt, nkeys, roles
from agent.fleet.bus.access import Access
from agent.fleet.bus.connection import BusConnection
from agent.fleet.bus.jwt import Times
from agent.fleet.bus.nkeys import KeyPair
from agent.fleet.home.home import Home
from agent.fleet.messages import lease_exchange
from agent.fleet.messages.certificates import HostCertificate
from agent.fleet.messages.lease_exchange import Acknowledgement, LeaseMessage
from agent.fleet.messages.membership import HostKeys
from agent.host.serving import end
from tests.parts.bus import settle
from tests.parts.part import Part

Answer = Callable[["FleetHost", bytes], Optional[bytes]]
"""What a host says to a message: bytes, or None to be silent. It may take its time."""


def acknowledge(host: FleetHost, sealed: bytes) -> bytes:
    """The acknowledgement of a valid lease by a correct host."""
    lease = LeaseMessage.open(sealed, set(host.home.facts.issuers))
    lease.check(host.instance, time.time())
    digest = lease_exchange.digest(sealed)
    answer = Acknowledgement(digest, host.instance, lease.request_id, lease.ends_at)
    return host.reply(answer.seal(host.keys.host))


class FleetHost(Part):
    """A member of a home's fleet, on its bus inside the `with` block.

    `received` are the messages received. `answer` may be replaced at any time.
    """

    def __init__(
        self,
        home: Home,
        directory: Path,
        instance: str,
        *,
        answer: Answer = acknowledge,
        tags: Optional[dict[str, str]] = None,
        lifetime: float = 3600,
    ) -> None:
        self.home = home
        self.instance = instance
        self.answer = answer
        self.received: list[bytes] = []
        self.keys = HostKeys.generate()
        now = time.time()
        self.certificate = HostCertificate(
            instance, "host", self.keys.host.public, self.keys.connector.public, tags or {},
            int(now * 1000), int((now + lifetime) * 1000),
        )  # fmt: skip
        self.sealed_certificate = self.certificate.seal(home.issuer())
        self.creds = directory / f"{instance}-{id(self)}.creds"
        self.creds.write_text(jwt.creds(self._token(now, lifetime), self.keys.connector))
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._on_bus = threading.Event()

    def reply(self, answer: bytes) -> bytes:
        """An answer with this host's certificate."""
        return lease_exchange.seal_reply(answer, self.sealed_certificate)

    def begin(self) -> None:
        """Connect, and wait for the connection."""
        self._thread.start()
        if not self._on_bus.wait(30):
            raise RuntimeError(f"{self.instance} does not reach the bus")

    def finish(self) -> None:
        """Disconnect."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(30)

    def _token(self, now: float, lifetime: float) -> str:
        signer = KeyPair.parse(self.home.file("host-signer.nk"), nkeys.ACCOUNT)
        times = Times(int(now) - 1, int(now + lifetime))
        account = self.home.facts.account.identity
        return roles.user(signer, account, self.instance, self.keys.connector.public, times)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        serving = asyncio.create_task(self._serve())
        await self._stop.wait()
        await end(serving)

    async def _serve(self) -> None:
        system = self.home.system_access()
        connection = BusConnection(
            Access(system.servers, system.ca, str(self.creds)),
            f"{self.instance} host",
            self._subscribe,
        )
        await connection.run()

    async def _subscribe(self, client: Any) -> None:
        await client.subscribe(lease_exchange.SUBJECT + self.instance, cb=self._hear)
        await settle(client)
        self._on_bus.set()

    async def _hear(self, message: Any) -> None:
        self.received.append(message.data)
        loop = asyncio.get_running_loop()
        said = await loop.run_in_executor(None, self.answer, self, message.data)
        if said is not None:
            await message.respond(said)
