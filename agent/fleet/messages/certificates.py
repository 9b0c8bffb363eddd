"""Hosts' certificates: an issuer certifies a host's signing key, its name and its tags.

Times are milliseconds of the wall clock since the Unix epoch.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

from agent.config import patterns
from agent.fleet.bus import nkeys
from agent.fleet.bus.servers import host_name
from agent.fleet.messages import documents
from agent.fleet.messages.documents import Rejected
from agent.fleet.messages.fields import Fields
from agent.fleet.messages.signing import PrivateKey, PublicKey

CERTIFICATE = "certificate"


@dataclass(frozen=True)
class HostCertificate:
    """An issuer certifies a host: the key that signs its answers, its name and its tags.

    `nkey` is its connector's public nkey on the bus.
    """

    host: str
    name: str
    key: PublicKey
    nkey: str
    tags: Mapping[str, str]
    issued_at: int
    ends_at: int

    def seal(self, key: PrivateKey) -> bytes:
        """The envelope, signed by an issuer's key."""
        content = {
            "ends_at": self.ends_at,
            "host": self.host,
            "issued_at": self.issued_at,
            "key": str(self.key),
            "name": self.name,
            "nkey": self.nkey,
            "tags": dict(self.tags),
        }
        return documents.seal(CERTIFICATE, content, key)

    @classmethod
    def open(cls, envelope: bytes, issuers: Container[PublicKey]) -> HostCertificate:
        """Verify that one of the issuers signed it, and parse it. Raises Rejected."""
        document = documents.unseal(envelope, {CERTIFICATE}, issuers)
        fields = Fields(document.content, "the certificate")
        certificate = cls(
            host=fields.text("host", patterns.instance_id),
            name=fields.text("name", host_name),
            key=fields.key("key"),
            nkey=fields.text("nkey", user_nkey),
            tags=fields.tags("tags"),
            issued_at=fields.time("issued_at"),
            ends_at=fields.time("ends_at"),
        )
        fields.end()
        return certificate

    def check(self, now: float, revoked: Mapping[str, int], grace: float = 0.0) -> None:
        """Raise Rejected when it ended more than `grace` ago, or its host was removed.

        Args:
            now: the wall clock; all times here are in seconds.
            revoked: public nkeys; a certificate issued up to the given time is void.
        """
        if now >= self.ends_at / 1000 + grace:
            raise Rejected(f"the certificate of {self.host} has expired: the host must join again")
        if self.is_revoked(revoked):
            raise Rejected(f"{self.host} was removed from the fleet: it must join again")

    def is_revoked(self, revoked: Mapping[str, int]) -> bool:
        """Whether its host was removed: `revoked` is as for `check`."""
        return self.issued_at / 1000 <= revoked.get(self.nkey, -1)


def user_nkey(value: str) -> None:
    """Raise ValueError unless this is the public nkey of a user."""
    nkeys.public_bytes(value, nkeys.USER)
