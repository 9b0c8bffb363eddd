"""Whom a gateway trusts: issuers, and the hosts that they certified."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import cachetools

from agent.config.fleet_limits import FLEET
from agent.fleet.messages.certificates import HostCertificate
from agent.fleet.messages.documents import Rejected
from agent.fleet.messages.signing import PrivateKey, PublicKey


@dataclass(frozen=True)
class Issuers:
    """The signing key, the issuers whose certificates are trusted, and the removed hosts.

    `revoked`: by nkey, the time of issue (s) up to which a certificate is void.
    """

    signer: PrivateKey
    trusted: tuple[PublicKey, ...]
    revoked: Mapping[str, int]


class CertificateBook:
    """Verifies each host's certificate once, and checks its end and revocation every time."""

    def __init__(self) -> None:
        self._verified: cachetools.LRUCache[bytes, tuple[HostCertificate, tuple[PublicKey, ...]]]
        self._verified = cachetools.LRUCache(FLEET.certificates)

    def open(self, sealed: bytes, host: str, issuers: Issuers, now: float) -> HostCertificate:
        """Verify and check this host's certificate; `now`: wall clock, s. Raises Rejected."""
        digest = hashlib.sha256(sealed).digest()
        known = self._verified.get(digest)
        # Verify again when the trusted issuers have changed: the old issuer may be gone.
        if known is None or known[1] != issuers.trusted:
            known = HostCertificate.open(sealed, issuers.trusted), issuers.trusted
            self._verified[digest] = known
        certificate = known[0]
        certificate.check(now, issuers.revoked)
        if certificate.host != host:
            raise Rejected(f"the certificate is that of {certificate.host}, not of {host}")
        return certificate
