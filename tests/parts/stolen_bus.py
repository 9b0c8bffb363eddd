"""A bus whose servers are compromised: an attacker has the operator's and system account's keys.

The attacker adds an unrestricted signing key to the account, through the servers' own update
mechanism, and so is a user who may read and publish on every subject.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional

from nats.aio.client import Client

from agent.fleet.bus import jwt, nats_client, nkeys
from agent.fleet.bus.jwt import Claims, Times
from agent.fleet.bus.nkeys import KeyPair
from agent.fleet.messages.lease_exchange import SUBJECT
from tests.parts.bus import PATIENCE, Bus
from tests.parts.part import Part
from tests.parts.waiting import wait_until

ALL: Mapping[str, Any] = {
    "pub": {"allow": [">"]}, "sub": {"allow": [">"]}, "subs": -1, "data": -1, "payload": -1,
}  # fmt: skip


@dataclass(frozen=True)
class Heard:
    """A message on the bus, for any receiver."""

    subject: str
    reply: str
    data: bytes


class StolenBus(Part):
    """The attacker, who reads the whole bus inside the `with` block.

    `on_lease` is called with each message to a host, in the attacker's own event loop; its result
    is published as the host's answer at once.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.heard: list[Heard] = []
        self.on_lease: Callable[[Heard], Optional[bytes]] = lambda _: None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._connection: Any = None
        self._client: Optional[Client] = None

    def begin(self) -> None:
        """Change the account, connect, and subscribe to everything."""
        self._thread.start()
        self._run(self._steal())

    def finish(self) -> None:
        """Disconnect. The account stays changed."""
        if self._client is not None:
            self._run(self._connection.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    def say(self, subject: str, data: bytes, reply: str = "", **headers: str) -> None:
        """Publish a message."""
        self._run(self._say(subject, data, reply, headers))

    def say_many(self, subject: str, data: bytes, count: int, reply: str = "") -> None:
        """Publish a message this many times, as fast as the server accepts it.

        A connector passes on only messages that have a `reply` subject.
        """

        async def say() -> None:
            assert self._client is not None
            for _ in range(count):
                await self._client.publish(subject, data, reply=reply)
            await self._client.flush(int(PATIENCE))

        self._run(say())

    def ask(self, host: str, message: bytes) -> bytes:
        """Return a host's answer to a message. Raises nats' TimeoutError and NoRespondersError."""
        assert self._client is not None
        asked = self._client.request(SUBJECT + host, message, timeout=PATIENCE)
        return bytes(self._run(asked).data)

    def says_no_responders(self, inbox: str) -> None:
        """Publish the server's frame for "nobody listens", which no client can send."""

        async def say() -> None:
            assert self._client is not None
            header = b"NATS/1.0 503\r\n\r\n"
            frame = f"HPUB {inbox} {len(header)} {len(header)}\r\n".encode() + header + b"\r\n"
            await self._client._send_command(frame)
            await self._client.flush()

        self._run(say())

    def leases(self) -> list[Heard]:
        """The messages to hosts so far."""
        return [each for each in self.heard if each.subject.startswith(SUBJECT)]

    def await_message(self, part: bytes) -> Heard:
        """Wait for the first message to a host that contains these bytes."""
        return self._await(lambda each: each.subject.startswith(SUBJECT) and part in each.data)

    def await_answer(self, asked: Heard) -> Heard:
        """Wait for the first answer to a message."""
        return self._await(lambda each: each.subject == asked.reply)

    def _await(self, wanted: Callable[[Heard], bool]) -> Heard:
        heard = wait_until(lambda: next(filter(wanted, list(self.heard)), None), lambda: self.heard)
        assert heard is not None
        return heard

    def _run(self, doing: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result(2 * PATIENCE)

    async def _steal(self) -> None:
        signer, me = KeyPair.generate(nkeys.ACCOUNT), KeyPair.generate(nkeys.USER)
        account = self._bus.home.facts.account.identity
        system = self._bus.home.system_access()
        # The change is not undone; hosts and gateways of this bus keep working.
        names = [each.server.folder for each in self._bus.servers]
        await nats_client.update_account(system, self._account(signer), names)
        nats = {"issuer_account": account, **ALL}
        claims = Claims(me.public, "thief", Times(int(time.time()) - 1), nats)
        self._connection = self._bus.client(jwt.encode(claims, signer, "user"), me)
        self._client = await self._connection.__aenter__()
        await self._client.subscribe(">", cb=self._hear)
        await self._client.flush()

    def _account(self, signer: KeyPair) -> str:
        """The account's token with one more signing key."""
        home = self._bus.home
        operator = KeyPair.parse(home.secret("operator-signer.nk"), nkeys.OPERATOR)
        now = jwt.decode(home.file("account.jwt"), operator.public, "account")
        nats = {**now.nats, "signing_keys": [*now.nats["signing_keys"], signer.public]}
        # Servers keep the newest token.
        at = Times(max(int(time.time()), now.times.issued_at + 1))
        return jwt.encode(Claims(now.subject, now.name, at, nats), operator, "account")

    async def _hear(self, message: Any) -> None:
        heard = Heard(message.subject, message.reply, bytes(message.data))
        self.heard.append(heard)
        if heard.subject.startswith(SUBJECT) and heard.reply:
            said = self.on_lease(heard)
            if said is not None:
                await self._say(heard.reply, said, "", {})

    async def _say(self, subject: str, data: bytes, reply: str, headers: dict[str, str]) -> None:
        assert self._client is not None
        await self._client.publish(subject, data, reply=reply, headers=headers or None)
        await self._client.flush()
