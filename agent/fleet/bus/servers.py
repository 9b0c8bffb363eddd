"""Writes a nats-server's configuration: TLS, limits, cluster; unused features stay off."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CLIENT_PORT, CLUSTER_PORT = 4222, 6222
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.ASCII)
_VERSION = re.compile(r"([0-9]{1,6})\.([0-9]{1,6})\.([0-9]{1,6})([-+].*)?", re.ASCII)


@dataclass(frozen=True)
class Server:
    """One server of the cluster: a DNS name or IPv4 address, and its two ports."""

    name: str
    port: int = CLIENT_PORT
    cluster_port: int = CLUSTER_PORT

    @classmethod
    def parse(cls, text: str) -> Server:
        """From NAME, NAME:PORT or NAME:PORT:CLUSTER_PORT. Raises ValueError."""
        name, *ports = text.split(":")
        host_name(name)
        if len(ports) > 2 or not all(re.fullmatch(r"[0-9]{1,5}", port) for port in ports):
            raise ValueError(f"a server is NAME, NAME:PORT or NAME:PORT:CLUSTER_PORT, not {text!r}")
        if not all(0 < int(port) < 65536 for port in ports):
            raise ValueError(f"{text!r} has an invalid port")
        return cls(name, *map(int, ports))

    def __str__(self) -> str:
        return f"{self.name}:{self.port}:{self.cluster_port}"

    @property
    def url(self) -> str:
        """The URL to which hosts and gateways connect."""
        return f"tls://{self.name}:{self.port}"

    @property
    def folder(self) -> str:
        """Its folder's name: the port distinguishes servers at one address."""
        return self.name if self.port == CLIENT_PORT else f"{self.name}-{self.port}"


@dataclass(frozen=True)
class Trust:
    """The trust settings of every server of the fleet: tokens, and the accounts by their nkeys."""

    operator: str
    system_account: str
    accounts: Mapping[str, str]


def check_version(version: str) -> None:
    """Raise ValueError if a nats-server of this version has known holes, or says no version.

    Source: its advisories of March 2026, on permissions to publish and on leaf nodes.
    """
    found = _VERSION.fullmatch(version)
    if found is None:
        raise ValueError("it does not say which version of nats-server it is")
    major, minor, patch = map(int, found.groups()[:3])
    least = {(2, 11): 15, (2, 12): 6}.get((major, minor), 0)
    if (major, minor) < (2, 11) or patch < least:
        raise ValueError(f"nats-server {version} is too old: install 2.11.15, 2.12.6 or later")


def host_name(value: str) -> None:
    """Raise ValueError unless this is a DNS name in lower case (RFC 1123) or an IPv4 address."""
    try:
        ipaddress.IPv4Address(value)
    except ValueError:
        if len(value) > 253 or not all(_LABEL.fullmatch(part) for part in value.split(".")):
            raise ValueError(f"{value!r} is not a host name in lower case") from None


def configuration(
    server: Server, peers: Sequence[Server], trust: Trust, folder: str, state: str
) -> str:
    """The text of nats-server.conf.

    Args:
        peers: all servers of the cluster, this one among them.
        folder: where this file and the certificates are on the server.
        state: a folder that the server can write: it keeps the accounts' tokens there.
    """
    routes = [f"tls://{peer.name}:{peer.cluster_port}" for peer in peers if peer != server]
    # The format accepts JSON's strings, lists and objects.
    return _TEXT.format(
        name=json.dumps(server.folder),
        port=server.port,
        cluster_port=server.cluster_port,
        routes=json.dumps(routes),
        folder=folder,
        state=json.dumps(f"{state}/accounts"),
        operator=json.dumps(trust.operator),
        system_account=trust.system_account,
        preload="\n".join(f"  {key}: {json.dumps(jwt)}" for key, jwt in trust.accounts.items()),
    )


_TEXT = """\
# A server of a sixtykey fleet. Made by `sixtykey fleet`, which writes it anew: do not edit.
# It wants nats-server 2.11.15, 2.12.6 or later, and LimitNOFILE above max_connections.
server_name: {name}
listen: "0.0.0.0:{port}"

# Not here, and so off: monitoring, JetStream, leaf nodes, gateways, WebSocket, MQTT.
tls {{
  cert_file: "{folder}/server.pem"
  key_file: "{folder}/server.key"
  min_version: "1.2"
  # All hosts come at once when the servers restart, and the end of the queue waits for long. With
  # 2 s, the default, it would be cut off, begin anew, and keep the server from ever catching up.
  timeout: 60
}}
authorization {{ timeout: 75 }}

# A server must be able to take those of one that failed.
max_connections: 100000
# A message is 16 KiB at most, as every user's token says; an account's token may be larger.
max_payload: 1MB
max_pending: 16MB
write_deadline: "10s"
# A host that is gone without a word is noticed after a minute at most.
ping_interval: "20s"
ping_max: 2
lame_duck_grace_period: "10s"
lame_duck_duration: "60s"
# Log no trace of messages, whatever the command line says of debugging.
logtime: true

cluster {{
  name: "sixtykey"
  listen: "0.0.0.0:{cluster_port}"
  routes: {routes}
  # Hosts know every server by its name, which is what its certificate is for.
  no_advertise: true
  tls {{
    cert_file: "{folder}/route.pem"
    key_file: "{folder}/route.key"
    ca_file: "{folder}/route-ca.pem"
    verify: true
    min_version: "1.2"
    timeout: 15
  }}
}}

operator: {operator}
system_account: {system_account}
resolver {{
  type: full
  dir: {state}
  allow_delete: false
  # How soon a server that was away learns who was removed meanwhile, from the others.
  interval: "5s"
}}
resolver_preload {{
{preload}
}}
"""
