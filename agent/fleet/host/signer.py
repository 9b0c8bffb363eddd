"""Signs the daemon's answers to gateways, with its key and certificate; reads sshd's host keys."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from typing import Optional

from agent.config.document import Problems
from agent.config.fleet_limits import FLEET
from agent.config.settings import Fleet
from agent.fleet.messages import lease_exchange
from agent.fleet.messages.description import host_key
from agent.fleet.messages.signing import PrivateKey, PublicKey
from agent.host import files


class HostSigner:
    """Signs answers. The certificate is read again when its file changes: it is renewed each day.

    Raises:
        Problems: the key or the certificate cannot be read.
    """

    def __init__(self, settings: Fleet) -> None:
        problems: list[str] = []
        self.issuers = frozenset(map(PublicKey.parse, settings.issuers))
        self._settings = settings
        self._certificate = b""
        self._seen: Optional[tuple[int, int, int]] = None
        self.key = self._read_key(problems)
        try:
            self._renew()
        except (OSError, ValueError) as error:
            problems.append(_words("certificate", settings.certificate, error))
        if problems:
            raise Problems(problems)

    def reply(self, answer: bytes) -> bytes:
        """Combine an answer that is signed with `key` and the certificate."""
        try:
            self._renew()
        except (OSError, ValueError):
            pass  # just removed, for instance by `sixtykey fleet leave`: keep the last one
        return lease_exchange.seal_reply(answer, self._certificate)

    def host_keys(self) -> Sequence[str]:
        """sshd's public host keys, as "TYPE BASE64"; those that cannot be read are left out."""
        found = []
        for pattern in self._settings.host_keys:
            for path in sorted(glob.glob(pattern)):
                try:
                    line = " ".join(files.read(path, FLEET.host_key_characters).split()[:2])
                    host_key(line)
                except (OSError, ValueError):
                    continue
                found.append(line)
        return found[: FLEET.host_keys]

    def _renew(self) -> None:
        path = self._settings.certificate
        status = os.stat(path)
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if seen != self._seen:
            text = files.read(path, FLEET.document_bytes).strip()
            self._certificate, self._seen = text.encode("ascii"), seen

    def _read_key(self, problems: list[str]) -> PrivateKey:
        path = self._settings.key
        try:
            return PrivateKey.parse(files.read(path, FLEET.file_bytes))
        except (OSError, ValueError) as error:
            problems.append(_words("key", path, error))
            return PrivateKey.generate()


def _words(name: str, path: str, error: Exception) -> str:
    why = error.strerror if isinstance(error, OSError) else error
    return f"fleet.{name}: {path}: {why}; sixtykey fleet join makes it, and leave ends membership"
