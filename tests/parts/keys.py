"""Key pairs, made and described by ssh-keygen."""

from __future__ import annotations

import base64
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from tests.parts.host import tool


def _ssh_keygen(*arguments: str) -> str:
    command = [tool("ssh-keygen", "openssh-client"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


@dataclass(frozen=True)
class KeyPair:
    """A private key in a file, and its public key in the file beside it."""

    private: Path

    @property
    def public(self) -> Path:
        """The file with the public key."""
        return self.private.with_name(self.private.name + ".pub")

    @property
    def line(self) -> str:
        """The public key as it stands in its file: type, base64, comment; no newline."""
        return self.public.read_text("utf-8").rstrip("\n")

    @property
    def type(self) -> str:
        """The key's type, as `ssh-ed25519`."""
        return self.line.split(" ")[0]

    @property
    def base64(self) -> str:
        """The key's blob in base64, as it stands in the line."""
        return self.line.split(" ")[1]

    @property
    def blob(self) -> bytes:
        """The key's wire form."""
        return base64.b64decode(self.base64, validate=True)

    def fingerprint(self, algorithm: str = "sha256") -> str:
        """Return the fingerprint from ssh-keygen: `SHA256:…`, or `MD5:…` for md5."""
        return _ssh_keygen("-l", "-E", algorithm, "-f", str(self.public)).split(" ")[1]


def make_key(
    directory: Path,
    name: str = "id",
    key_type: str = "ed25519",
    *,
    bits: Optional[int] = None,
    comment: str = "somebody@somewhere",
) -> KeyPair:
    """Make a key pair without a passphrase; types and bits as ssh-keygen takes them."""
    path = directory / name
    size = ["-b", str(bits)] if bits is not None else []
    _ssh_keygen("-q", "-t", key_type, *size, "-N", "", "-C", comment, "-f", str(path))
    return KeyPair(path)
