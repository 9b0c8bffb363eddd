"""Shows a fleet from one of its gateways: the connected hosts, and the state of the bus."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Sequence
from typing import Any, Callable, Optional

from agent.client.trouble import DONE, REFUSED, Trouble, plain
from agent.commands.fleet.gateways import compare_gateways
from agent.commands.fleet.home import FOLDER, as_trouble
from agent.commands.options import Options, refuse_more
from agent.commands.terminal import Screen, duration, table
from agent.config.fleet_limits import FLEET
from agent.fleet.bus import jwt, nats_client, roles
from agent.fleet.bus.access import Access
from agent.fleet.bus.caller import BusCaller, NoAnswer
from agent.fleet.bus.connection import BusConnection
from agent.fleet.bus.servers import check_version
from agent.fleet.directory import listing, roster
from agent.fleet.directory.directory import Directory, filter_by_name
from agent.fleet.directory.roster import Connection
from agent.fleet.directory.trust import Issuers
from agent.fleet.home import authority
from agent.fleet.home.home import ACCOUNT, CA, CERTIFICATE, CREDS, Home, gateway_name
from agent.fleet.home.registry import SqliteRegistry
from agent.host.clock import SystemClock
from agent.host.serving import end

HEADING = ("INSTANCE", "NAME", "ZONE", "CONNECTED SINCE", "VERSION", "ADDRESSES", "TAGS")
# The pause between two drawings of `hosts --watch` (s).
_REDRAW_SECONDS = 2.0


class View:
    """Asks the bus about the fleet, with the rights of the gateway whose folder this is."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._clock = SystemClock()
        account = jwt.decode(home.file(ACCOUNT), home.facts.operator_signer, "account")
        self._issuers = Issuers(home.issuer(), home.facts.issuers, roles.revocations(account))

    def access(self, *urls: str) -> Access:
        """How to reach the bus, or only these servers of it."""
        servers = urls or tuple(server.url for server in self._home.facts.servers)
        folder = self._home.folder
        return Access(servers, os.path.join(folder, CA), os.path.join(folder, CREDS))

    async def run(self, work: Callable[[Directory], Awaitable[int]]) -> int:
        """Run `work` with a directory of the hosts. Raises Trouble: the bus is not reachable."""
        access = self.access()
        # The only inbox that the gateway's own token permits.
        name = jwt.name_of(access.read()[0])
        bus = BusConnection(access, "sixtykey fleet", inbox=f"_INBOX.{name}")
        task = asyncio.create_task(bus.run())
        try:
            await asyncio.wait_for(bus.connected.wait(), FLEET.connect_seconds)
            count = len(self._home.facts.servers)
            caller = BusCaller(bus)
            return await work(
                Directory(bus, caller, lambda: self._issuers, lambda: count, self._clock)
            )
        except (NoAnswer, asyncio.TimeoutError) as error:
            words = str(error) or "no server of the bus can be reached"
            raise Trouble(REFUSED, "Unreachable", words, "sixtykey fleet status") from None
        finally:
            await end(task)


def _hosts(options: Options, words: Sequence[str]) -> int:
    with as_trouble():
        view = View(Home(options.value("--folder") or FOLDER))
    watching = options.on("--watch") and not options.on("--json") and sys.stdout.isatty()

    if watching:
        # A log line about the connection would overwrite the screen.
        logging.getLogger("sixtykeyd").setLevel(logging.ERROR)

    async def show(directory: Directory) -> int:
        if watching:
            return await _watch(directory, words)
        found = await _list_hosts(directory, words)
        if options.on("--json"):
            print(json.dumps({"Hosts": found}, indent=2))
        else:
            print("\n".join(_format_hosts(found)))
        return DONE

    try:
        return asyncio.run(view.run(show))
    except KeyboardInterrupt:
        return DONE


async def _watch(directory: Directory, names: Sequence[str]) -> int:
    with Screen(sys.stdout) as screen:
        while True:
            try:
                rows = _format_hosts(await _list_hosts(directory, names))
            except NoAnswer as error:
                rows = [f"the bus does not answer: {error}; trying again"]
            screen.draw(rows)
            await asyncio.sleep(_REDRAW_SECONDS)


async def _list_hosts(directory: Directory, names: Sequence[str]) -> list[dict[str, Any]]:
    """Every connected host whose id or name matches."""
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        shown, after = await listing.page(directory, names, after, FLEET.page, lambda _: True)
        found += shown
        if not after:
            break
    # Hosts that are connected but do not answer are shown to operators, and not to clients.
    there = {host["InstanceId"] for host in found}
    silent = filter_by_name((await directory.connected()).values(), names)
    return found + [_describe_silent(each) for each in silent if each.host not in there]


def _describe_silent(connection: Connection) -> dict[str, Any]:
    """A connected host that does not answer, or whose answer is not valid for this fleet."""
    return {
        "InstanceId": connection.host, "Name": connection.name, "AvailabilityZone": "-",
        "ConnectedSince": connection.since, "Version": "DOES NOT ANSWER", "Addresses": [],
        "HostKeys": [], "Tags": {},
    }  # fmt: skip


def _format_hosts(hosts: Sequence[dict[str, Any]]) -> list[str]:
    if not hosts:
        return ["no such host is connected"]
    rows: list[Sequence[str]] = [HEADING]
    for host in hosts:
        tags = ", ".join(f"{name}={value}" for name, value in sorted(host["Tags"].items()))
        rows.append(
            (
                host["InstanceId"], host["Name"], host["AvailabilityZone"],
                host["ConnectedSince"][:19] + "Z", host["Version"],
                ", ".join(host["Addresses"]) or "-", tags or "-",
            )
        )  # fmt: skip
    return table(rows)


def _status(options: Options, words: Sequence[str]) -> int:
    refuse_more(words, 0)
    with as_trouble():
        home = Home(options.value("--folder") or FOLDER)
        view = View(home)
        ends = authority.ends_at(home.file(CERTIFICATE)) - time.time()
        gateways = compare_gateways(home)
    servers = asyncio.run(_examine_servers(view, home))
    status = {
        "Folder": home.folder,
        "Gateways": gateways,
        "Servers": servers,
        "Hosts": {
            "Connected": sum(each["Hosts"] for each in servers),
            "Joined": _count_joined(home),
        },
        "Issuers": [str(each) for each in home.facts.issuers],
        "Rotation": home.facts.rotation.stage,
        "CertificateEndsIn": round(ends),
    }
    if options.on("--json"):
        print(json.dumps(status, indent=2))
    else:
        print(plain("\n".join(_format_status(status))))
    return DONE if all(each["Problem"] is None for each in [*servers, *gateways]) else REFUSED


async def _examine_servers(view: View, home: Home) -> list[dict[str, Any]]:
    """Each server of the bus: whether it is reachable, and how many hosts are connected to it."""
    servers = home.facts.servers
    answers = await asyncio.gather(
        *(_examine_server(view, each.url, len(servers)) for each in servers)
    )
    hosts: Counter[str] = Counter()
    for _, found in answers:
        # Each reachable server lists all connections: use the fullest list.
        hosts |= Counter(each.server for each in found)
    return [
        {"URL": each.url, "Problem": problem, "Hosts": hosts[each.folder]}
        for each, (problem, _) in zip(servers, answers)
    ]


async def _examine_server(
    view: View, url: str, count: int
) -> tuple[Optional[str], list[Connection]]:
    """The server's problem, if it has one, and the connections that it lists."""
    try:
        client = await nats_client.connect_once(view.access(url), inbox=True)
    except (nats_client.Unreachable, OSError, ValueError) as error:
        return f"NOT REACHABLE: {error}", []
    try:
        found = list((await roster.connections(client, count)).values())
    except NoAnswer as error:
        return f"NOT REACHABLE: {error}", []
    finally:
        await nats_client.close(client)
    try:
        check_version(nats_client.version(client))
    except ValueError as error:
        return str(error), found
    return None, found


def _count_joined(home: Home) -> Any:
    """How many hosts have joined; None if it is unknown. Only the fleet's home knows it."""
    try:
        if not os.path.exists(home.facts.registry):
            return None
        with SqliteRegistry.for_operator(home.facts.registry) as registry:
            return sum(each.gone_at is None for each in registry.hosts())
    except (OSError, sqlite3.Error):
        return None


def _format_status(status: dict[str, Any]) -> list[str]:
    joined = status["Hosts"]["Joined"]
    of = "" if joined is None else f" of {joined} that have joined"
    lines = [
        f"{'gateway':12}{_name_gateway(each['URL'])}: {each['Problem'] or 'as this one'}"
        for each in status["Gateways"]
    ]
    for server in status["Servers"]:
        how = server["Problem"] or f"{server['Hosts']} hosts"
        lines.append(f"{'server':12}{server['URL']}: {how}")
    lines += [
        f"{'hosts':12}{status['Hosts']['Connected']} connected{of}",
        f"{'issuers':12}{', '.join(status['Issuers'])}",
        f"{'rotation':12}{status['Rotation']}",
        f"{'certificate':12}of this gateway expires in {duration(status['CertificateEndsIn'])}",
    ]
    return lines


def _name_gateway(url: str) -> str:
    return f"{url} ({gateway_name(url)})"


ACTIONS = {"hosts": _hosts, "status": _status}
