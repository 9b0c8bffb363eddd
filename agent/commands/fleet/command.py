"""sixtykey fleet: many hosts behind one endpoint. Its actions are in the modules beside this."""

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
A gateway accepts pushes for many hosts, which connect to it over a bus of nats-servers that need
not be trusted. At the first gateway, which has the fleet's home: init makes all keys, and folders
to copy to gateways and servers; gateway and server make one more such folder, or one with new
certificates; token prints a token with which hosts join; remove ends a host's membership at once;
rotate changes the key that signs leases, in three steps, and says what to do next. At any gateway:
hosts lists the connected hosts with their descriptions, and status shows the state of the bus.

On a host: join makes keys and writes the fleet section of the configuration (with - as TOKEN, it
reads the token from stdin); renew, which a timer runs each day, renews the membership; leave ends
it. Needs root.

example:
  sudo sixtykey fleet token --hosts 'web-*' --lifetime 1h --uses 20 --tag role=web"""
OPTIONS = {
    "--gateway": ("URL...", "init: gateways, such as https://gw-1.example:8443; the first is home"),
    "--server": ("NAME...", "init: servers of the bus (default ports: 4222 and 6222)"),
    "--server-folder": ("DIR", "init: where a server has its files (default: /etc/nats-sixtykey)"),
    "--server-state": (
        "DIR",
        "init: the folder that a server writes to (default: /var/lib/nats-sixtykey)",
    ),
    "--registry": (
        "FILE",
        "init: the registry of hosts (default: below /var/lib/sixtykey-gateway)",
    ),
    "--folder": ("DIR", "the fleet's home (default: /etc/sixtykey/gateway)"),
    "--hosts": ("PATTERN...", "token: names of hosts that may join, such as 'web-*'"),
    "--instances": ("PATTERN...", "token: instance ids that may join (default: all)"),
    "--lifetime": ("TIME", "token: how long it is valid, such as 30m, 1h, 7d (default: 1h)"),
    "--uses": ("N", "token: how many hosts may join with it (default: 1)"),
    "--tag": ("KEY=VALUE...", "token: tags of the hosts, for allow.tags of credentials"),
    "--anyway": ("", "rotate: do not wait for hosts that have not renewed"),
    "--left": ("", "remove: revoke the keys of hosts that have left; a timer runs this"),
    "--watch": ("", "hosts: keep updating the screen"),
    "--restart": ("", "renew: restart the services that a change affects"),
    "--name": ("NAME", "join: this host's name in the fleet (default: its host name)"),
    "--host-folder": ("DIR", "join, renew, leave: the host's files (default: /etc/sixtykey/fleet)"),
    "--config": ("FILE", "join, renew, leave: default /etc/sixtykey/config.yaml"),
    **JSON,
}
_HOME, _HOST = ("--folder", "--json"), ("--host-folder", "--config", "--json")
# Each action: the module that has it, and the options that go with it.
ACTIONS = {
    "init": (
        "home",
        ("--gateway", "--server", "--server-folder", "--server-state", "--registry", *_HOME),
    ),
    "gateway": ("home", _HOME),
    "server": ("home", _HOME),
    "token": ("home", ("--hosts", "--instances", "--lifetime", "--uses", "--tag", *_HOME)),
    "remove": ("removal", ("--left", *_HOME)),
    "rotate": ("home", ("--anyway", *_HOME)),
    "hosts": ("view", ("--watch", *_HOME)),
    "status": ("view", _HOME),
    "join": ("host", ("--name", *_HOST)),
    "renew": ("host", ("--restart", *_HOST)),
    "leave": ("host", _HOST),
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
    # asyncio logs how each TLS connection ends, which does not matter here.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    # Each of the two packages contains nats-py. These folders are searched last.
    sys.path += ["/usr/lib/sixtykey-gateway", "/usr/lib/sixtykey-fleet"]
    actions: Any = __import__(f"agent.commands.fleet.{module}", fromlist=["ACTIONS"])
    return int(actions.ACTIONS[words[0]](options, list(words[1:])))
