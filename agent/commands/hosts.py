"""sixtykey hosts: what can be pushed to."""

from __future__ import annotations

import os
import time

from agent.client import platform
from agent.client.trouble import DONE, REFUSED, Trouble
from agent.commands.options import CLIENT, HOST, JSON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.client.hosts import Host
    from agent.client.settings import Settings
    from agent.commands.options import Options

USAGE = "sixtykey hosts [--json] [--names] [PATTERN...]"
HELP = """\
Lists the hosts that you may push to, with instance id, zone and addresses: those of a fleet's
gateway, or EC2's running instances. PATTERN is a name, which may contain * and ?, an instance id,
an address, or a tag KEY=VALUE. Single hosts in client.yaml are not asked.

example:
  sixtykey hosts 'web-*' role=db"""
OPTIONS = {
    **JSON,
    "--names": ("", "print names only, including those of client.yaml"),
    "--kept": ("", "send no request: print the cached names, for completion"),
    **HOST,
    **CLIENT,
}


def run(options: Options, words: Sequence[str]) -> int:
    """List them."""
    platform.check()
    from agent.client import settings

    found = settings.load(os.environ, options.given())
    if options.on("--kept"):
        _print_names(found, [])
        return DONE
    hosts = [host for host in _ask(found) if not words or any(host.matches(word) for word in words)]
    hosts.sort(key=lambda host: (host.name, host.instance))
    if options.on("--json"):
        import json

        print(json.dumps({"Hosts": [host.document() for host in hosts]}, indent=2))
    elif options.on("--names"):
        _print_names(found, hosts)
    elif hosts:
        _print(hosts)
    if not hosts:
        raise Trouble(REFUSED, "NoHosts", "you may push to no such host")
    return DONE


def _ask(found: Settings) -> list[Host]:
    from agent.client import credentials, targets
    from agent.client.api import Api

    region = credentials.region(found)
    api = Api(found, credentials.find(found, time.time()), region)
    hosts = targets.list_hosts(found, api, region)
    targets.cache_names(found.environ, [host.name or host.instance for host in hosts])
    return hosts


def _print_names(found: Settings, hosts: Sequence[Host]) -> None:
    from agent.client import targets
    from agent.client.hosts import is_name

    names = {name for name in found.patterns if not set("*?") & set(name)}
    names.update(host.name or host.instance for host in hosts)
    if not hosts:
        names.update(targets.read_cached_names(found.environ))
    # bash and zsh expand what they complete from: $(...) in a name that a gateway or a tag of EC2
    # lists would be executed. ssh could not connect to such a name.
    for name in sorted(filter(is_name, names)):
        print(name)


def _print(hosts: Sequence[Host]) -> None:
    from agent.commands.terminal import table

    rows = [("NAME", "INSTANCE", "ZONE", "ADDRESSES", "TAGS")]
    for host in hosts:
        tags = " ".join(f"{key}={value}" for key, value in host.tags.items() if key != "Name")
        rows.append((host.name, host.instance, host.zone, " ".join(host.addresses), tags))
    print("\n".join(table(rows)))
