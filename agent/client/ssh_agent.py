"""Talks to ssh-agent over its socket: list, add and remove keys.

Source: SSH Agent Protocol (draft-miller-ssh-agent), sections 3 and 4. Numbers and strings are
encoded as in RFC 4251, section 5.
"""

from __future__ import annotations

import _socket
import os

from agent.client import limits
from agent.client.trouble import REFUSED, Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

_FAILURE, _SUCCESS = 5, 6
_REQUEST_IDENTITIES, _IDENTITIES = 11, 12
_REMOVE_IDENTITY, _ADD_CONSTRAINED = 18, 25
_LIFETIME, _CONFIRM = b"\x01", b"\x02"


def string(value: bytes) -> bytes:
    """A string of the SSH protocol: its length and its bytes."""
    return len(value).to_bytes(4, "big") + value


class NoAgent(Trouble):
    """There is no agent, or it does not answer."""

    def __init__(self, words: str) -> None:
        super().__init__(REFUSED, "NoAgent", words)


class SshAgent:
    """An agent at its socket; each request uses a new connection."""

    def __init__(self, path: str) -> None:
        self.path = path

    def identities(self) -> list[tuple[bytes, str]]:
        """The public keys that it holds, each with its comment. Raises NoAgent."""
        answer = self._ask(bytes([_REQUEST_IDENTITIES]))
        if answer[0] != _IDENTITIES:
            raise NoAgent(f"the ssh-agent at {self.path} does not list its keys: is it locked?")
        count, rest = int.from_bytes(answer[1:5], "big"), answer[5:]
        found = []
        for _ in range(count):
            blob, rest = self._split_string(rest)
            comment, rest = self._split_string(rest)
            found.append((blob, comment.decode("utf-8", "replace")))
        return found

    def add_ed25519(
        self, public: bytes, private: bytes, comment: str, lifetime: int, confirm: bool
    ) -> None:
        """Add a key for `lifetime` seconds. Raises NoAgent.

        Args:
            public: 32 bytes.
            private: the seed and the public key, 64 bytes.
            confirm: whether the agent asks its user at each use.
        """
        message = bytes([_ADD_CONSTRAINED]) + b"".join(
            string(part) for part in (b"ssh-ed25519", public, private, comment.encode())
        )
        message += _LIFETIME + lifetime.to_bytes(4, "big") + (_CONFIRM if confirm else b"")
        if self._ask(message)[0] != _SUCCESS:
            what = "a lifetime, and to ask at each use (confirm)" if confirm else "a lifetime"
            raise NoAgent(
                f"the ssh-agent at {self.path} does not accept an Ed25519 key with {what}"
            )

    def remove(self, blob: bytes) -> bool:
        """Remove a key; returns whether the agent had it. Raises NoAgent."""
        return self._ask(bytes([_REMOVE_IDENTITY]) + string(blob))[0] == _SUCCESS

    def _split_string(self, rest: bytes) -> tuple[bytes, bytes]:
        length = int.from_bytes(rest[:4], "big")
        if len(rest) < 4 + length:
            raise NoAgent(f"the ssh-agent at {self.path} sends an invalid answer")
        return rest[4 : 4 + length], rest[4 + length :]

    def _ask(self, message: bytes) -> bytes:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            sock.settimeout(limits.AGENT_SECONDS)
            sock.connect(self.path)
            sock.sendall(string(message))
            length = int.from_bytes(_read(sock, 4), "big")
            if not 0 < length <= limits.AGENT_BYTES:
                raise NoAgent(f"the ssh-agent at {self.path} sends an invalid answer")
            return _read(sock, length)
        except OSError as error:
            words = error.strerror or "it does not answer"
            raise NoAgent(f"no ssh-agent at {self.path}: {words}") from None
        finally:
            sock.close()


def _read(sock: _socket.socket, length: int) -> bytes:
    """Read exactly `length` bytes. Raises OSError."""
    parts = b""
    while len(parts) < length:
        part = sock.recv(length - len(parts))
        if not part:
            raise OSError(0, "it closed without an answer")
        parts += part
    return parts


def find(path: str) -> Optional[SshAgent]:
    """The agent at this socket, or None when none answers."""
    if not path.startswith("/") or not os.path.exists(path):
        return None
    agent = SshAgent(path)
    try:
        agent.identities()
    except NoAgent:
        return None
    return agent
