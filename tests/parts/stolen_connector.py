"""An attacker in place of a host's connector."""

from __future__ import annotations

import base64
import json
import socket
from typing import Any, Optional

from agent.fleet.messages import lease_exchange
from tests.parts.bus import PATIENCE
from tests.parts.fleet_member import FleetMember
from tests.parts.part import Part


class StolenConnector(Part):
    """An attacker in place of sixtykeyd-fleet who can write lines to the source socket."""

    def __init__(self, member: FleetMember) -> None:
        self._path = str(member.directory / "source.sock")
        self._number = 0

    def begin(self) -> None:
        """Connect, and send the hello line."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)
        self._lines = self.sock.makefile("rb")
        self.say({"hello": "fleet", "version": 1})

    def finish(self) -> None:
        """Close the connection."""
        self._lines.close()
        self.sock.close()

    def say(self, document: Any) -> None:
        """Send a line of JSON."""
        self.sock.sendall(json.dumps(document).encode() + b"\n")

    def deliver(self, message: bytes) -> int:
        """Deliver a message as if it came from the bus; return its number."""
        self._number += 1
        text = base64.b64encode(message).decode()
        self.say({"deliver": self._number, "message": text})
        return self._number

    def hear(self) -> Optional[tuple[int, bytes]]:
        """The number and content of the daemon's next reply, or None if it has closed."""
        try:
            line = self._lines.readline()
        except ConnectionError:
            return None
        if not line:
            return None
        document = json.loads(line)
        return document["reply"], base64.b64decode(document["message"])

    def ask(self, message: bytes) -> dict[str, Any]:
        """The content of the answer to a message."""
        number = self.deliver(message)
        heard = self.hear()
        assert heard is not None
        assert heard[0] == number
        answer, _ = lease_exchange.open_reply(heard[1])
        content: dict[str, Any] = json.loads(json.loads(answer)["body"])
        return content
