"""One simulated host of a fleet: the NATS protocol by hand, one subscription, signed answers.

Its keys are derived from its number and the fleet's keys, so that a hundred thousand hosts need no
files. It stores nothing: only real hosts show that an acknowledged push is durable. Source: NATS
client protocol, docs.nats.io/reference/reference-protocols/nats-protocol.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Callable, Optional, Union

from agent.fleet.bus import nkeys, roles
from agent.fleet.bus.jwt import Times
from agent.fleet.bus.nkeys import KeyPair
from agent.fleet.messages import lease_exchange
from agent.fleet.messages.certificates import HostCertificate
from agent.fleet.messages.lease_exchange import SUBJECT, Acknowledgement
from agent.fleet.messages.signing import PrivateKey

HOUR = 3600
_PING, _PONG = b"PING\r\n", b"PONG\r\n"
CALL, ECHO = b"?", b"!"
"""What is asked to see whether a host is reached, where no signature is wanted; and its answer."""


def instance_id(number: int) -> str:
    """The instance id of a simulated host."""
    return f"i-{number:017x}"


@dataclass(frozen=True)
class Keys:
    """Derives a host's keys from its number and the fleet's keys. `made_at`: s, wall clock."""

    issuer: PrivateKey
    signer: KeyPair
    account: str
    made_at: int

    @classmethod
    def load(cls, text: str) -> Keys:
        """Load from JSON that `dump` wrote."""
        known = json.loads(text)
        signer = KeyPair.parse(known["signer"], nkeys.ACCOUNT)
        issuer = PrivateKey.parse(known["issuer"])
        return cls(issuer, signer, known["account"], known["made_at"])

    def dump(self) -> str:
        """Return JSON for another process of this benchmark."""
        known = {"issuer": self.issuer.dump(), "signer": self.signer.dump()}
        return json.dumps({**known, "account": self.account, "made_at": self.made_at})

    def seed(self, number: int, use: str) -> bytes:
        """The seed of a host's keys."""
        return hashlib.sha256(f"{use} {number}".encode() + self.issuer.seed).digest()

    def host(self, number: int) -> PrivateKey:
        """The key with which the host signs its answers."""
        return PrivateKey(self.seed(number, "host"))

    def connector(self, number: int) -> KeyPair:
        """The key of the host's connector on the bus."""
        return KeyPair(nkeys.USER, self.seed(number, "connector"))

    def certificate(self, number: int) -> bytes:
        """The host's certificate, signed by the issuer."""
        made = HostCertificate(
            instance_id(number), f"sim-{number}", self.host(number).public,
            self.connector(number).public, {}, self.made_at * 1000, (self.made_at + HOUR) * 1000,
        )  # fmt: skip
        return made.seal(self.issuer)

    def token(self, number: int) -> tuple[str, KeyPair]:
        """The host's token for the bus."""
        pair, now = self.connector(number), int(time.time())
        times = Times(now - 1, now + HOUR)
        token = roles.user(self.signer, self.account, instance_id(number), pair.public, times)
        return token, pair


class Lost(Exception):
    """The connection has ended."""


Acked = Callable[[str, str], None]
"""Told of each lease that was acknowledged: its request id, and by which instance."""


class SimulatedHost:
    """A host on one connection; the caller calls `read` when there is data.

    `up` is true once the server has accepted its subscription. `began`: when it began to connect
    (time.monotonic), which tells one attempt from another.
    """

    __slots__ = ("_acked", "_inbox", "_keys", "_nonce", "_shaken", "began", "number", "sock", "up")

    def __init__(self, number: int, keys: Keys, acked: Acked) -> None:
        self.number = number
        self.sock: Union[socket.socket, ssl.SSLSocket]
        self.up = False
        self.began = 0.0
        self._keys = keys
        self._acked = acked
        self._inbox = b""
        self._nonce: Optional[str] = None
        self._shaken = False

    @property
    def greeted(self) -> bool:
        """Whether the server has said anything on this connection."""
        return self._nonce is not None

    def connect(self, address: tuple[str, int], source: str) -> None:
        """Start to connect. Raises OSError."""
        self.up, self._nonce, self._shaken, self._inbox = False, None, False, b""
        self.began = time.monotonic()
        self.sock = socket.socket()
        self.sock.setblocking(False)
        # The local port is chosen at connect, so each server address can use all ports (ip(7)).
        self.sock.setsockopt(socket.IPPROTO_IP, 24, 1)
        # As every client of the bus has it: an answer must not wait for a PONG's acknowledgement.
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.bind((source, 0))
        self.sock.connect_ex(address)

    def read(self, tls: Optional[ssl.SSLContext]) -> None:
        """Read the available data and answer it. Raises Lost."""
        try:
            if isinstance(self.sock, ssl.SSLSocket) and not self._shaken:
                self._shake(self.sock)
            while data := self.sock.recv(16_384):
                # All that an idle host gets, and what a machine full of them does most.
                if data == _PING and not self._inbox:
                    self.sock.send(_PONG)
                else:
                    self._take(self._inbox + data, tls)
                if not isinstance(self.sock, ssl.SSLSocket):
                    return
            raise Lost
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError as error:
            raise Lost from error

    def _take(self, data: bytes, tls: Optional[ssl.SSLContext]) -> None:
        """Process the complete messages of these bytes, and keep the rest."""
        at = 0
        while (end := data.find(b"\r\n", at)) >= 0:
            line = data[at:end]
            if line.startswith(b"MSG "):
                size = int(line.rpartition(b" ")[2])
                if len(data) < end + 4 + size:
                    break
                self._answer(line.split(b" "), data[end + 2 : end + 2 + size])
                at = end + 4 + size
                continue
            at = end + 2
            if line == b"PING":
                self.sock.send(_PONG)
            elif line == b"PONG":
                self.up = True
            elif line.startswith(b"INFO ") and self._nonce is None:
                self._greet(str(json.loads(line[5:])["nonce"]), tls)
            elif line.startswith(b"-ERR"):
                raise Lost
        self._inbox = data[at:]

    def _greet(self, nonce: str, tls: Optional[ssl.SSLContext]) -> None:
        self._nonce = nonce
        if tls is None:
            self._introduce()
            return
        self.sock = secure = tls.wrap_socket(
            self.sock, do_handshake_on_connect=False, server_hostname="127.0.0.1"
        )
        self._shake(secure)

    def _shake(self, secure: ssl.SSLSocket) -> None:
        """Continue the handshake. Raises OSError, and SSLWantReadError while it is not complete."""
        secure.do_handshake()
        self._shaken = True
        self._introduce()

    def _introduce(self) -> None:
        """Send CONNECT and subscribe to the host's subject."""
        token, pair = self._keys.token(self.number)
        who = {
            "verbose": False, "pedantic": False, "headers": True, "no_responders": True,
            "lang": "simulation", "version": "1", "protocol": 1, "jwt": token,
            "name": f"{instance_id(self.number)} sim-{self.number}",
            "sig": base64.b64encode(pair.sign(str(self._nonce).encode())).decode(),
        }  # fmt: skip
        subject = SUBJECT + instance_id(self.number)
        words = f"CONNECT {json.dumps(who)}\r\nSUB {subject} 1\r\nPING\r\n"
        self.sock.send(words.encode())

    def _answer(self, line: list[bytes], payload: bytes) -> None:
        """Acknowledge a lease for this host; ignore anything else."""
        if len(line) != 5:
            return
        said = ECHO if payload == CALL else self._acknowledge(payload)
        if said is not None:
            self.sock.send(b"PUB %s %d\r\n%s\r\n" % (line[3], len(said), said))

    def _acknowledge(self, envelope: bytes) -> Optional[bytes]:
        try:
            body: str = json.loads(envelope)["body"]
            lease = json.loads(body)
            request_id, ends_at, host = lease["request_id"], lease["ends_at"], lease["host"]
        except (ValueError, KeyError, TypeError):
            return None
        mine = instance_id(self.number)
        if host != mine:
            return None
        digest = hashlib.sha256(body.encode("ascii")).digest()
        said = Acknowledgement(digest, mine, request_id, ends_at).seal(self._keys.host(self.number))
        self._acked(request_id, mine)
        return lease_exchange.seal_reply(said, self._keys.certificate(self.number))
