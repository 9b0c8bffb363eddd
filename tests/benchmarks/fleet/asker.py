"""Questions to simulated hosts over the bus: what servers and hosts take, without a gateway."""

from __future__ import annotations

import base64
import json
import random
import secrets
import socket
from pathlib import Path

from agent.fleet.bus import jwt
from agent.fleet.home.home import gateway_name
from agent.fleet.messages.lease_exchange import SUBJECT
from tests.benchmarks.fleet.cluster import Cluster
from tests.parts.part import Part
from tests.parts.raw import PATIENCE
from tests.parts.simulated_host import CALL, ECHO


class Asker(Part):
    """One connection to a server without TLS, with the gateway's credentials.

    It speaks the client protocol by hand, as the simulated hosts do: a library's own time is not
    the bus's.
    """

    def __init__(self, cluster: Cluster) -> None:
        gateway = gateway_name(cluster.home.facts.gateways[0])
        self._inbox = f"_INBOX.{gateway}.asker-{secrets.token_hex(8)}"
        self._token, self._key = jwt.read_creds(
            Path(cluster.home.folder, "gateway.creds").read_text()
        )
        port = random.choice(cluster.home.facts.servers).port
        self._sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = self._sock.makefile("rb")

    def begin(self) -> None:
        """Introduce itself, and subscribe to its inbox."""
        nonce = json.loads(self._reader.readline().partition(b" ")[2])["nonce"]
        who = {
            "verbose": False, "pedantic": False, "headers": True, "no_responders": True,
            "lang": "asker", "version": "1", "protocol": 1, "jwt": self._token,
            "sig": base64.b64encode(self._key.sign(nonce.encode())).decode(),
        }  # fmt: skip
        self._sock.sendall(
            f"CONNECT {json.dumps(who)}\r\nSUB {self._inbox}.* 1\r\nPING\r\n".encode()
        )
        while (line := self._reader.readline()) != b"PONG\r\n":
            _check(line)

    def finish(self) -> None:
        """Close the connection."""
        self._reader.close()
        self._sock.close()

    def ask(self, instance: str) -> None:
        """Ask a host, and wait for its answer. Raises RuntimeError if there is none."""
        self._sock.sendall(
            f"PUB {SUBJECT}{instance} {self._inbox}.{instance} {len(CALL)}\r\n".encode()
            + CALL
            + b"\r\n"
        )
        while not (line := self._reader.readline()).startswith(b"MSG "):
            _check(line)
            if line == b"PING\r\n":
                self._sock.sendall(b"PONG\r\n")
        if self._reader.readline() != ECHO + b"\r\n" or instance.encode() not in line:
            raise RuntimeError(f"{instance} answers something else: {line!r}")


def _check(line: bytes) -> None:
    if not line or line.startswith((b"-ERR", b"HMSG")):
        raise RuntimeError(f"the bus answers {line!r}")
