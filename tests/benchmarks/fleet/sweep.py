"""Check that every host is reached: each is asked over the bus, and missing ones again."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client
from nats.errors import Error

from agent.fleet.bus import jwt
from agent.fleet.home.home import gateway_name
from agent.fleet.messages.lease_exchange import SUBJECT
from tests.benchmarks.fleet.cluster import Cluster
from tests.parts.simulated_host import CALL, ECHO

# Questions in flight at a time, and the time (s) to wait for the last answer of a round.
AT_ONCE, ROUND = 500, 2.0


def sweep(cluster: Cluster, instances: Sequence[str], patience: float) -> float:
    """Ask all hosts until each has answered; return the seconds. Raises RuntimeError."""
    began = time.monotonic()
    missing = asyncio.run(_sweep(cluster, instances, began + patience))
    if missing:
        raise RuntimeError(f"{len(missing)} of {len(instances)} hosts are not reached")
    return time.monotonic() - began


async def _sweep(cluster: Cluster, instances: Sequence[str], end: float) -> set[str]:
    left = set(instances)
    while left and time.monotonic() < end:
        try:
            client = await connect(cluster)
        except (Error, OSError):
            await asyncio.sleep(0.1)
            continue
        try:
            await _ask_all(client, cluster, left, end)
        except (Error, OSError):
            pass  # the connection was lost: another one
        finally:
            await client.close()
    return left


async def connect(cluster: Cluster) -> Client:
    """A connection to the bus with the gateway's credentials. Raises Error and OSError."""
    folder = cluster.home.folder
    token, key = jwt.read_creds(Path(folder, "gateway.creds").read_text())
    # As in each process here, servers that are down are skipped.
    return await nats.connect(
        [server.url.replace("tls:", "nats:") for server in cluster.home.facts.servers],
        user_jwt_cb=lambda: bytearray(token.encode()),
        signature_cb=lambda nonce: base64.b64encode(key.sign(nonce.encode())),
        inbox_prefix=f"_INBOX.{gateway_name(cluster.home.facts.gateways[0])}",
        allow_reconnect=False,
        max_reconnect_attempts=1,
        connect_timeout=10,
        error_cb=_ignore,
    )


async def _ignore(_: Exception) -> None:
    """Ignore an error: a lost question is asked again."""


async def _ask_all(client: Client, cluster: Cluster, left: set[str], end: float) -> None:
    inbox = f"_INBOX.{gateway_name(cluster.home.facts.gateways[0])}.sweep."

    async def hear(message: Any) -> None:
        if message.data == ECHO:
            left.discard(str(message.subject)[len(inbox) :])

    await client.subscribe(f"{inbox}*", cb=hear)
    while left and time.monotonic() < end:
        asked = list(left)
        for first in range(0, len(asked), AT_ONCE):
            for each in asked[first : first + AT_ONCE]:
                await client.publish(SUBJECT + each, CALL, reply=inbox + each)
            await client.flush(10)
        waited = time.monotonic() + ROUND
        while left and time.monotonic() < waited:
            await asyncio.sleep(0.01)
