"""A host's request to join, renew or leave, and the membership that a gateway answers with.

The host signs a request with both of its keys, which proves that it has them. An issuer signs the
answer, which names the request. Times are milliseconds of the wall clock.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Container
from dataclasses import dataclass, field

from agent.config import patterns
from agent.config.fleet_limits import FLEET
from agent.fleet.bus import nkeys
from agent.fleet.bus.nkeys import KeyPair
from agent.fleet.bus.servers import host_name
from agent.fleet.messages import documents
from agent.fleet.messages.certificates import user_nkey
from agent.fleet.messages.documents import ANYBODY, Rejected
from agent.fleet.messages.fields import Fields
from agent.fleet.messages.lease_exchange import DIGEST_BYTES
from agent.fleet.messages.signing import PrivateKey, PublicKey

JOIN, RENEWAL, LEAVE = "join", "renewal", "leave"
MEMBERSHIP = "membership"
_PROOF = " proof"


@dataclass(frozen=True)
class HostKeys:
    """A host's two keys: one signs its answers, the other identifies its connector on the bus."""

    host: PrivateKey
    connector: KeyPair = field(repr=False)

    @classmethod
    def generate(cls) -> HostKeys:
        """Make new keys."""
        return cls(PrivateKey.generate(), KeyPair.generate(nkeys.USER))


@dataclass(frozen=True)
class HostRequest:
    """A host's request: to join, to renew its certificate, or to leave.

    `voucher` is the join token's text; for the other requests, the envelope of its certificate.
    """

    kind: str
    host: str
    name: str
    key: PublicKey
    nkey: str
    voucher: str
    asked_at: int

    @classmethod
    def seal(
        cls, kind: str, host: str, name: str, keys: HostKeys, voucher: str, asked_at: int
    ) -> bytes:
        """The request, signed by both keys of the host."""
        content = {
            "asked_at": asked_at,
            "host": host,
            "key": str(keys.host.public),
            "name": name,
            "nkey": keys.connector.public,
            "voucher": voucher,
        }
        connector = PrivateKey(keys.connector.seed)
        both = {
            "proof": documents.seal(kind + _PROOF, content, connector).decode("ascii"),
            "request": documents.seal(kind, content, keys.host).decode("ascii"),
        }
        return documents.canonical(both)

    @classmethod
    def open(cls, text: bytes, kind: str, now: float) -> HostRequest:
        """Verify a request's kind, both signatures and its age. Raises Rejected."""
        both = Fields(documents.read(text, 2 * FLEET.document_bytes), "the request")
        most = FLEET.document_bytes
        sealed = both.text("request", most=most).encode()
        proof = both.text("proof", most=most).encode()
        both.end()
        document = documents.unseal(sealed, {kind}, ANYBODY)
        fields = Fields(document.content, "the request")
        request = cls(
            kind,
            host=fields.text("host", patterns.instance_id),
            name=fields.text("name", host_name),
            key=fields.key("key"),
            nkey=fields.text("nkey", user_nkey),
            voucher=fields.text("voucher", most=most),
            asked_at=fields.time("asked_at"),
        )
        fields.end()
        connector = PublicKey(nkeys.public_bytes(request.nkey, nkeys.USER))
        proven = documents.unseal(proof, {kind + _PROOF}, {connector})
        if document.key != request.key or proven.body != document.body:
            raise Rejected("the two keys of the request do not sign the same content")
        if abs(now - request.asked_at / 1000) > FLEET.request_seconds:
            raise Rejected(
                "the host's clock and the gateway's differ too much: synchronize them with NTP"
            )
        return request


@dataclass(frozen=True)
class Membership:
    """A gateway's answer to a request: everything that a host stores, except its keys.

    `request` is the SHA-256 of the request. `certificate` is an envelope, `token` the connector's
    for the bus; `servers` and `gateways` are URLs, `ca` is a certificate in DER.
    """

    request: bytes
    certificate: str
    token: str
    issuers: tuple[PublicKey, ...]
    servers: tuple[str, ...]
    gateways: tuple[str, ...]
    ca: bytes

    def seal(self, key: PrivateKey) -> bytes:
        """The envelope, signed by an issuer's key."""
        content = {
            "ca": base64.b64encode(self.ca).decode("ascii"),
            "certificate": self.certificate,
            "gateways": list(self.gateways),
            "issuers": [str(issuer) for issuer in self.issuers],
            "request": self.request.hex(),
            "servers": list(self.servers),
            "token": self.token,
        }
        return documents.seal(MEMBERSHIP, content, key)

    @classmethod
    def open(cls, envelope: bytes, issuers: Container[PublicKey], request: bytes) -> Membership:
        """Verify that an issuer signed this answer to the given request. Raises Rejected."""
        document = documents.unseal(envelope, {MEMBERSHIP}, issuers)
        fields = Fields(document.content, "the membership")
        most = FLEET.document_bytes
        membership = cls(
            request=fields.bytes("request", DIGEST_BYTES),
            certificate=fields.text("certificate", most=most),
            token=fields.text("token", most=most),
            issuers=tuple(map(PublicKey.parse, fields.texts("issuers", _issuer))),
            servers=fields.texts("servers"),
            gateways=fields.texts("gateways"),
            ca=_der(fields.text("ca", most=most)),
        )
        fields.end()
        if membership.request != hashlib.sha256(request).digest():
            raise Rejected("the answer is to another request")
        return membership


def _issuer(value: str) -> None:
    PublicKey.parse(value)


def _der(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Rejected("the authority's certificate is not base64") from None
