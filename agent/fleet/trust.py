"""Whom a gateway believes: issuers, and the hosts that these have certified."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import cachetools

from agent.config.fleet_limits import FLEET
from agent.fleet.certificates import HostCertificate
from agent.fleet.documents import Rejected
from agent.fleet.signing import PrivateKey, PublicKey


@dataclass(frozen=True)
class Issuers:
    """Who signs, whose hosts' certificates count, and who was removed (by nkey, until when: s)."""

    signer: PrivateKey
    trusted: tuple[PublicKey, ...]
    revoked: Mapping[str, int]


class CertificateBook:
    """Hosts' certificates: each is verified once, and looked at whenever it is shown."""

    def __init__(self) -> None:
        self._verified: cachetools.LRUCache[bytes, tuple[HostCertificate, tuple[PublicKey, ...]]]
        self._verified = cachetools.LRUCache(FLEET.certificates)

    def open(self, sealed: bytes, host: str, issuers: Issuers, now: float) -> HostCertificate:
        """The certificate of this host. Raises Rejected; `now` is the wall clock (s)."""
        digest = hashlib.sha256(sealed).digest()
        known = self._verified.get(digest)
        # What an issuer of before has signed counts no more once that is none any more.
        if known is None or known[1] != issuers.trusted:
            known = HostCertificate.open(sealed, issuers.trusted), issuers.trusted
            self._verified[digest] = known
        certificate = known[0]
        certificate.check(now, issuers.revoked)
        if certificate.host != host:
            raise Rejected(f"the certificate is that of {certificate.host}, not of {host}")
        return certificate
