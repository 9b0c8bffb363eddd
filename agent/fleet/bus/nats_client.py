"""Short connections to the bus: TLS, the token and its key, and the account's update.

nats-py reads .creds itself only with a further package, which exists as a source distribution only.
The two callbacks here do without it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.errors import Error

from agent.config.fleet_limits import FLEET
from agent.fleet.bus import jwt
from agent.fleet.bus.access import Access
from agent.fleet.bus.guarded_client import GuardedClient
from agent.fleet.bus.nkeys import KeyPair
from agent.fleet.messages.fields import printable

CLAIMS_UPDATE = "$SYS.REQ.CLAIMS.UPDATE"
# Sign only what looks like a server's nonce. The same key also signs documents, which never do.
_NONCE = re.compile(r"[A-Za-z0-9_-]{8,128}", re.ASCII)
# The most errors of one connection that an operator is told: a server can cause them without end.
_TOLD = 3


class Unreachable(Exception):
    """No server of the bus can be used; the text says why."""


def options(access: Access) -> dict[str, Any]:
    """Arguments for nats-py's connect(): servers, TLS, and callbacks that read .creds each time.

    Raises OSError and ValueError: a file cannot be read or used.
    """
    access.read()

    def token() -> bytearray:
        return bytearray(_read(access)[0].encode("ascii"))

    def sign(nonce: str) -> bytes:
        if not _NONCE.fullmatch(nonce):
            raise Error("the server wants something signed that is not a nonce")
        return base64.b64encode(_read(access)[1].sign(nonce.encode("ascii")))

    return {
        "servers": list(access.servers),
        "tls": access.context(),
        "user_jwt_cb": token,
        "signature_cb": sign,
    }


def _read(access: Access) -> tuple[str, KeyPair]:
    """Token and key. Raises nats-py's Error, so that nats-py sees a failed connection."""
    try:
        return access.read()
    except (OSError, ValueError) as error:
        raise Error(f"{access.creds}: {error}") from None


async def connect_once(access: Access, inbox: bool = False) -> Client:
    """Make a connection for one task, without reconnection. Raises Unreachable.

    `inbox`: receive answers in the inbox that a gateway's token permits, named after the gateway.
    """
    failures: list[str] = []
    client = GuardedClient()

    async def fail(error: Exception) -> None:
        del failures[_TOLD:]
        failures.append(str(error))

    try:
        arguments = options(access)
        if inbox:
            arguments["inbox_prefix"] = f"_INBOX.{jwt.name_of(access.read()[0])}"
        connecting = client.connect(
            **arguments,
            allow_reconnect=False,
            max_reconnect_attempts=1,
            connect_timeout=int(FLEET.connect_seconds),
            error_cb=fail,
        )
        await asyncio.wait_for(connecting, FLEET.connect_seconds * len(access.servers))
    except (Error, OSError, ValueError, asyncio.TimeoutError) as error:
        await close(client)
        words = "; ".join([*failures, str(error)]) or type(error).__name__
        raise Unreachable(f"no server of the bus can be reached: {words}") from None
    except asyncio.CancelledError:
        drop(client)
        raise
    return client


def version(client: Client) -> str:
    """The version of the server that it is connected to, as the server says it; or nothing."""
    server = getattr(client, "_current_server", None)
    return str(getattr(server, "server_version", "") or "")


async def close(client: Client) -> None:
    """Close the connection. Drops it if the server does not take part in time.

    nats-py waits for the end of TLS, which a server that stands still never sends.
    """
    try:
        await asyncio.wait_for(client.close(), FLEET.close_seconds)
    except (Error, OSError, asyncio.TimeoutError):
        pass
    finally:
        drop(client)


def drop(client: Client) -> None:
    """Close the connection's sockets at once.

    nats-py leaves them open where connecting is cancelled, or refused at a late moment.
    """
    transport = getattr(client, "_transport", None)
    for name in ("_io_writer", "_bare_io_writer"):
        writer = getattr(transport, name, None)
        if writer is not None:
            writer.transport.abort()


@dataclass(frozen=True)
class Answers:
    """What the servers say to an account's token.

    `accepted`: the names of those that accept it, sorted. `refused`: the others' reasons, by name.
    """

    accepted: Sequence[str]
    refused: Mapping[str, str]


async def update_account(access: Access, token: str, names: Collection[str]) -> Answers:
    """Send the account's new token to the servers, which disconnect revoked users at once.

    Args:
        access: with the system account's credentials.
        names: the servers' names. Wait some seconds for each to accept it.

    Raises:
        Unreachable: no server was reached, none accepts the token, or it cannot be sent.
    """
    client = await connect_once(access)
    try:
        inbox = client.new_inbox()
        try:
            answers = await client.subscribe(inbox)
            await client.publish(CLAIMS_UPDATE, token.encode("ascii"), reply=inbox)
        except Error as error:
            words = f"the account's token, {len(token)} bytes, cannot be sent: {error}"
            raise Unreachable(words) from None
        return await _collect(answers, frozenset(names))
    finally:
        await close(client)


async def _collect(answers: Subscription, names: Collection[str]) -> Answers:
    """The answers of these servers. Raises Unreachable: none accepts the token.

    A server that was taken over must not keep the others' answers away, and answers prove no
    sender. So what is not readable, or in an unknown name, is left out; an acceptance counts more
    than a refusal in the same name, which is waited for; and all of it has an end.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + FLEET.claims_seconds * len(names)
    accepted: set[str] = set()
    refused: dict[str, str] = {}
    while len(accepted) < len(names) and loop.time() < end:
        try:
            message = await answers.next_msg(timeout=FLEET.claims_seconds)
            content = json.loads(message.data)
            name, error = content["server"]["name"], content.get("error")
            if name not in names:
                continue
            if error:
                refused.setdefault(name, printable(str(error)))
            else:
                accepted.add(name)
        except Error:
            break
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
            continue
    refused = {name: refused[name] for name in sorted(refused.keys() - accepted)}
    if not accepted:
        words = "; ".join(f"{name}: {error}" for name, error in refused.items())
        raise Unreachable(f"no server accepts the account's token: {words or 'none answers'}")
    return Answers(sorted(accepted), refused)
