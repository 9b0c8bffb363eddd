"""The connections that the bus's servers report: only a hint, until the host itself answers.

The request goes to the account's own service, `$SYS.REQ.ACCOUNT.PING.CONNZ` (nats-server,
server/events.go). Each server lists its own connections, page by page.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from nats.aio.client import Client
from nats.errors import Error

from agent.config import patterns
from agent.config.fleet_limits import FLEET
from agent.fleet.bus.caller import NoAnswer
from agent.fleet.bus.roles import CONNECTIONS

_LONGEST = FLEET.listed_characters


@dataclass(frozen=True)
class Connection:
    """A host's connection, as a server of the bus reports it.

    Attributes:
        host, name: the instance id and the name that its connector claims.
        since: when it connected, in the server's spelling (RFC 3339).
        server, number: identify the connection at its server.
    """

    host: str
    name: str
    since: str
    server: str
    number: int


async def connections(client: Client, servers: int) -> dict[str, Connection]:
    """Every host's newest connection, by instance id.

    Args:
        servers: the number of servers. Wait some seconds for an answer of each.
    Raises:
        NoAnswer: no server answers.
    """
    found: dict[str, Connection] = {}
    offset, more = 0, True
    while more and offset < FLEET.page_connections * FLEET.list_pages:
        answers = await _ask(client, {"offset": offset, "sort": "cid"}, servers)
        if not answers and not offset:
            raise NoAnswer("no server of the bus lists its connections")
        more = False
        for answer in answers:
            page = _page(answer)
            for each in page:
                before = found.get(each.host)
                if before is None and len(found) >= FLEET.certificates:
                    continue
                if before is None or each.since > before.since:
                    found[each.host] = each
            more = more or len(_read_connections(answer)) == FLEET.page_connections
        offset += FLEET.page_connections
    return found


async def count(client: Client, servers: int) -> int:
    """The number of connected hosts, by the servers' own counts: a list of 100,000 takes seconds.

    It is all connections but those with an inbox, which gateways have and no host may have.
    Arguments and errors are those of `connections`.
    """
    answers = await _ask(client, {"filter_subject": "_INBOX.>"}, servers)
    if not answers:
        raise NoAnswer("no server of the bus lists its connections")
    return sum(max(0, _total(answer) - len(_read_connections(answer))) for answer in answers)


async def _ask(client: Client, what: Mapping[str, Any], servers: int) -> list[dict[str, Any]]:
    """The servers' answers to one request; what is none does not prolong the time for them.

    Only the first answer in each server's name counts, so that many of one displace no others.
    """
    question = {"limit": FLEET.page_connections, **what}
    inbox, loop = client.new_inbox(), asyncio.get_running_loop()
    subscription = await client.subscribe(inbox, pending_bytes_limit=2 * FLEET.bus_message_bytes)
    answers: dict[str, dict[str, Any]] = {}
    end = loop.time() + FLEET.listing_seconds * servers
    try:
        await client.publish(CONNECTIONS, json.dumps(question).encode(), reply=inbox)
        while len(answers) < servers and loop.time() < end:
            message = await subscription.next_msg(timeout=FLEET.listing_seconds)
            answer = _parse(message.data)
            if answer is not None:
                answers.setdefault(_server(answer), answer)
    except (Error, asyncio.TimeoutError):
        pass  # a server that is down does not answer
    finally:
        await subscription.unsubscribe()
    return list(answers.values())


def _parse(text: bytes) -> Optional[dict[str, Any]]:
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return None
    good = isinstance(answer, dict) and isinstance(answer.get("data"), dict)
    return answer if good else None


def _page(answer: dict[str, Any]) -> list[Connection]:
    """The hosts in one server's answer; malformed entries are left out."""
    name, found = _server(answer), []
    for each in _read_connections(answer)[: FLEET.page_connections]:
        try:
            host, _, called = str(each["name"]).partition(" ")
            patterns.instance_id(host)
            since, number = str(each["start"])[:_LONGEST], int(each["cid"])
            found.append(Connection(host, called[:_LONGEST], since, name, number))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            continue
    return found


def _server(answer: dict[str, Any]) -> str:
    """The name in which a server answers; empty if there is none."""
    server = answer.get("server")
    return str(server.get("name", ""))[:_LONGEST] if isinstance(server, dict) else ""


def _total(answer: dict[str, Any]) -> int:
    """One server's number of the account's connections; 0 if it is not a likely number."""
    found = answer["data"].get("total")
    return found if type(found) is int and found <= FLEET.largest_count else 0


def _read_connections(answer: dict[str, Any]) -> list[Any]:
    """The connections in one server's answer, unchecked; empty if that is not a list."""
    found = answer["data"].get("connections")
    return found if isinstance(found, list) else []
