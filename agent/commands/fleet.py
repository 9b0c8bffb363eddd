"""sixtykey fleet: many hosts behind one endpoint. fleet_home and fleet_host do its actions."""

from __future__ import annotations

import logging
import sys

from agent.commands.options import JSON, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from agent.commands.options import Options

USAGE = """\
sixtykey fleet init --gateway URL... --server NAME[:PORT[:CLUSTER_PORT]]...
       sixtykey fleet gateway URL
       sixtykey fleet server NAME[:PORT[:CLUSTER_PORT]]
       sixtykey fleet token --hosts PATTERN... [--lifetime TIME] [--uses N] [--tag KEY=VALUE...]
       sixtykey fleet remove HOST | --left
       sixtykey fleet rotate
       sixtykey fleet hosts [--watch] [PATTERN...]
       sixtykey fleet status
       sixtykey fleet join URL TOKEN
       sixtykey fleet renew
       sixtykey fleet leave"""
HELP = """\
A gateway takes pushes for many hosts, which reach it over a bus of nats-servers that need not be
trusted. At the first gateway, the fleet's home: init makes all keys, and folders to be copied to
gateways and servers; gateway and server make one more such folder, or one with new certificates;
token prints leave for hosts to join; remove ends a host's membership at once; rotate changes the
key that signs leases, step by step, and tells what is to be done next. At any gateway: hosts shows
who is connected, with what each host says of itself, and status how the bus is.

On a host: join makes keys there and writes the fleet section of the configuration; renew, which
a timer runs each day, prolongs the membership; leave ends it. Takes root.

example:
  sudo sixtykey fleet token --hosts 'web-*' --lifetime 1h --uses 20 --tag role=web"""
OPTIONS = {
    "--gateway": ("URL...", "init: gateways, such as https://gw-1.example:8443; the first is home"),
    "--server": ("NAME...", "init: servers of the bus; ports are 4222 and 6222 unless it says so"),
    "--server-folder": ("DIR", "init: where a server has its files (default: /etc/nats-sixtykey)"),
    "--server-state": ("DIR", "init: what a server may write (default: /var/lib/nats-sixtykey)"),
    "--registry": ("FILE", "init: which hosts joined (default: below /var/lib/sixtykey-gateway)"),
    "--folder": ("DIR", "the fleet's home (default: /etc/sixtykey/gateway)"),
    "--hosts": ("PATTERN...", "token: how a host that joins may be called, such as 'web-*'"),
    "--instances": ("PATTERN...", "token: which instance ids may join (default: every one)"),
    "--lifetime": ("TIME", "token: how long it counts, such as 30m, 1h, 7d (default: 1h)"),
    "--uses": ("N", "token: how many hosts may join by it (default: 1)"),
    "--tag": ("KEY=VALUE...", "token: what the hosts are tagged with, for credentials' allow.tags"),
    "--anyway": ("", "rotate: do not wait for hosts that have not renewed"),
    "--left": ("", "remove: revoke what hosts have that left by themselves; a timer does it"),
    "--watch": ("", "hosts: keep it on the screen"),
    "--restart": ("", "renew: restart what has to know of a change, by systemctl"),
    "--name": ("NAME", "join: how this host is called (default: its host name)"),
    "--host-folder": ("DIR", "join, renew, leave: the host's files (default: /etc/sixtykey/fleet)"),
    "--config": ("FILE", "join, renew, leave: default /etc/sixtykey/config.yaml"),
    **JSON,
}
_HOME, _HOST = ("--folder", "--json"), ("--host-folder", "--config", "--json")
# Each action: the module that has it, and the options that go with it.
ACTIONS = {
    "init": (
        "fleet_home",
        ("--gateway", "--server", "--server-folder", "--server-state", "--registry", *_HOME),
    ),
    "gateway": ("fleet_home", _HOME),
    "server": ("fleet_home", _HOME),
    "token": ("fleet_home", ("--hosts", "--instances", "--lifetime", "--uses", "--tag", *_HOME)),
    "remove": ("fleet_home", ("--left", *_HOME)),
    "rotate": ("fleet_home", ("--anyway", *_HOME)),
    "hosts": ("fleet_view", ("--watch", *_HOME)),
    "status": ("fleet_view", _HOME),
    "join": ("fleet_host", ("--name", *_HOST)),
    "renew": ("fleet_host", ("--restart", *_HOST)),
    "leave": ("fleet_host", _HOST),
}


def run(options: Options, words: Sequence[str]) -> int:
    """Do what the first word says."""
    if not words or words[0] not in ACTIONS:
        raise Usage(f"say {', '.join(ACTIONS)}")
    module, allowed = ACTIONS[words[0]]
    wrong = [name for name in OPTIONS if options.on(name) and name not in allowed]
    if wrong:
        raise Usage(f"{', '.join(wrong)} does not go with {words[0]}")
    from agent.commands.settings import third_party

    third_party()
    # Of how a connection over TLS ends, asyncio says what is no news.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    # Each of the two packages brings its own; the last places are looked at last.
    sys.path += ["/usr/lib/sixtykey-gateway", "/usr/lib/sixtykey-fleet"]
    actions: Any = __import__(f"agent.commands.{module}", fromlist=["ACTIONS"])
    return int(actions.ACTIONS[words[0]](options, list(words[1:])))
