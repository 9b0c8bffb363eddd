"""Connections to the bus: TLS, the token and its key, and what nats-py must not do by itself.

nats-py's own way to read .creds needs a package that is a source distribution only; the two
callbacks need nothing.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Sequence
from typing import Any

import nats
from nats.aio.client import Client
from nats.errors import Error

from agent.config.fleet_limits import FLEET
from agent.fleet import jwt
from agent.fleet.access import Access
from agent.fleet.nkeys import KeyPair

CLAIMS_UPDATE = "$SYS.REQ.CLAIMS.UPDATE"
# What a server may have signed: its nonces. The same key signs documents, which never look so.
_NONCE = re.compile(r"[A-Za-z0-9_-]{8,128}", re.ASCII)


class Unreachable(Exception):
    """No server of the bus can be used; the words say why."""


def options(access: Access) -> dict[str, Any]:
    """For nats.connect: servers, TLS and who we are; the .creds are read for each connection.

    Raises OSError and ValueError: a file cannot be read or used.
    """
    access.read()

    def token() -> bytearray:
        return bytearray(_read(access)[0].encode("ascii"))

    def sign(nonce: str) -> bytes:
        if not _NONCE.fullmatch(nonce):
            raise Error("the server wants something signed that is no nonce")
        return base64.b64encode(_read(access)[1].sign(nonce.encode("ascii")))

    return {
        "servers": list(access.servers),
        "tls": access.context(),
        "user_jwt_cb": token,
        "signature_cb": sign,
    }


def _read(access: Access) -> tuple[str, KeyPair]:
    """Token and key. Raises Error, which nats-py takes for a connection that failed."""
    try:
        return access.read()
    except (OSError, ValueError) as error:
        raise Error(f"{access.creds}: {error}") from None


async def once(access: Access, inbox: bool = False) -> Client:
    """A connection for one errand, which is not made again when it breaks. Raises Unreachable.

    `inbox`: answers come where a gateway's token allows it, by the name in it.
    """
    failures: list[str] = []

    async def fail(error: Exception) -> None:
        failures.append(str(error))

    try:
        return await asyncio.wait_for(
            nats.connect(
                **options(access),
                **({"inbox_prefix": f"_INBOX.{jwt.name_of(access.read()[0])}"} if inbox else {}),
                allow_reconnect=False,
                max_reconnect_attempts=1,
                connect_timeout=int(FLEET.connect_seconds),
                error_cb=fail,
            ),
            FLEET.connect_seconds * len(access.servers),
        )
    except (Error, OSError, ValueError, asyncio.TimeoutError) as error:
        words = "; ".join([*failures, str(error)]) or type(error).__name__
        raise Unreachable(f"no server of the bus can be reached: {words}") from None


async def update_account(access: Access, token: str, wanted: int) -> Sequence[str]:
    """Give the servers the account's new token; who is revoked by it is off the bus at once.

    Args:
        access: with the system account's credentials.
        wanted: how many servers there are; it is waited for all of them, for some seconds.

    Returns:
        The names of the servers that have taken it.
    Raises:
        Unreachable: none was reached, or one refused it.
    """
    client = await once(access)
    try:
        inbox = client.new_inbox()
        answers = await client.subscribe(inbox)
        await client.publish(CLAIMS_UPDATE, token.encode("ascii"), reply=inbox)
        taken: list[str] = []
        while len(taken) < wanted:
            try:
                message = await answers.next_msg(timeout=FLEET.claims_seconds)
            except Error:
                break
            taken.append(_taken(message.data))
        return sorted(taken)
    finally:
        await client.close()


def _taken(answer: bytes) -> str:
    """The name of the server that has taken the token. Raises Unreachable."""
    try:
        content = json.loads(answer)
        name = str(content["server"]["name"])
        if "error" in content:
            raise Unreachable(f"{name} refuses the account's token: {content['error']}")
        return name
    except (KeyError, TypeError, ValueError):
        raise Unreachable("a server's answer to the account's token is not readable") from None
