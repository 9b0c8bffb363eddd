"""The roots that an administrator trusts: a PEM file, or a folder of them like /etc/ssl/certs."""

from __future__ import annotations

import os
from collections.abc import Iterator

from cryptography import x509

from agent.sources.metadata import certificates
from agent.sources.metadata.refusal import Refused

# A distribution's roots take a quarter of a megabyte, and the folder holds them two or three times.
_MOST_BYTES = 8 * 1024 * 1024


def load(path: str) -> list[x509.Certificate]:
    """Load every certificate there, once each.

    Only plain CERTIFICATE blocks are trusted. OpenSSL's TRUSTED CERTIFICATE can exclude purposes,
    so it is skipped. So is anything that cryptography cannot parse.

    Raises:
        Refused: nothing can be read there.
    """
    found: dict[bytes, x509.Certificate] = {}
    for text in _texts(path):
        for match in certificates.PEM.finditer(text):
            if match[0] in found:
                continue
            try:
                found[match[0]] = certificates.parse(match[0])
            except Exception:  # noqa: BLE001, S112 - cryptography raises half a dozen types here
                continue
    if not found:
        raise Refused(f"there are no trusted roots at {path}: ec2.roots")
    return list(found.values())


def _texts(path: str) -> Iterator[bytes]:
    names = [path]
    if os.path.isdir(path):
        names = sorted(entry.path for entry in os.scandir(path) if entry.is_file())
    left = _MOST_BYTES
    for name in names:
        try:
            with open(name, "rb") as file:
                text = file.read(left + 1)
        except OSError:
            continue
        left -= len(text)
        if left < 0:
            raise Refused(f"the files at {path} are larger than {_MOST_BYTES} bytes: ec2.roots")
        yield text
