"""A gateway's inquiry to a host, and the host's description of itself. Both are signed.

The description has the host's SSH host keys. A client that gets them from a gateway can verify the
host that it connects to. Times are milliseconds of the wall clock.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Container
from dataclasses import dataclass

from agent.config import patterns
from agent.config.fleet_limits import FLEET
from agent.fleet.messages import documents
from agent.fleet.messages.clocks import check_clocks
from agent.fleet.messages.documents import Rejected
from agent.fleet.messages.fields import Fields
from agent.fleet.messages.lease_exchange import DIGEST_BYTES, NONCE_BYTES
from agent.fleet.messages.signing import PrivateKey, PublicKey

INQUIRY, DESCRIPTION = "inquiry", "description"
# It becomes a line of known_hosts, where a word that begins with @ is a marker (sshd(8)).
_KEY_TYPE = re.compile(r"[a-z0-9][a-z0-9@.-]{0,63}", re.ASCII)


@dataclass(frozen=True)
class Inquiry:
    """A gateway's question to a host; only an issuer is answered."""

    host: str
    issued_at: int
    nonce: bytes

    def seal(self, key: PrivateKey) -> bytes:
        """The envelope, signed by the issuer's key."""
        content = {"host": self.host, "issued_at": self.issued_at, "nonce": self.nonce.hex()}
        return documents.seal(INQUIRY, content, key)

    @classmethod
    def open(cls, envelope: bytes, issuers: Container[PublicKey]) -> Inquiry:
        """The inquiry in an envelope that one of the issuers signed. Raises Rejected."""
        fields = Fields(documents.unseal(envelope, {INQUIRY}, issuers).content, "the inquiry")
        inquiry = cls(
            fields.text("host", patterns.instance_id),
            fields.time("issued_at"),
            fields.bytes("nonce", NONCE_BYTES),
        )
        fields.end()
        return inquiry

    def check(self, host: str, now: float) -> None:
        """Raise NotForThisHost or NotNow; `now` is this host's wall clock in seconds."""
        check_clocks(self.host, self.issued_at, host, now)


@dataclass(frozen=True)
class Description:
    """A host's description of itself.

    `inquiry` is the digest of the inquiry. `addresses` are those that its connector sees: only a
    hint, since a client checks `host_keys` (sshd's, as "TYPE BASE64"). `lifetime` (seconds) and
    `uses` are the most that this host allows a key.
    """

    inquiry: bytes
    host: str
    version: str
    zone: str
    addresses: tuple[str, ...]
    host_keys: tuple[str, ...]
    lifetime: int
    uses: str

    def seal(self, key: PrivateKey) -> bytes:
        """The envelope, signed by the host's key."""
        content = {
            "addresses": list(self.addresses),
            "host": self.host,
            "host_keys": list(self.host_keys),
            "inquiry": self.inquiry.hex(),
            "lifetime": self.lifetime,
            "uses": self.uses,
            "version": self.version,
            "zone": self.zone,
        }
        return documents.seal(DESCRIPTION, content, key)

    @classmethod
    def open(cls, envelope: bytes, host: str, key: PublicKey, inquiry: bytes) -> Description:
        """The answer of the host with this key to the inquiry with this digest. Raises Rejected."""
        fields = Fields(documents.unseal(envelope, {DESCRIPTION}, {key}).content, "the answer")
        found = cls(
            fields.bytes("inquiry", DIGEST_BYTES),
            fields.text("host", patterns.instance_id),
            fields.text("version", most=64),
            fields.text("zone", patterns.availability_zone),
            fields.texts("addresses", plain_address),
            fields.texts("host_keys", host_key, FLEET.host_key_characters),
            fields.whole("lifetime", 1, 60),
            fields.choice("uses", "once", "unlimited"),
        )
        fields.end()
        if found.host != host or found.inquiry != inquiry:
            raise Rejected("the answer is from another host, or to another inquiry")
        return found


def plain_address(value: str) -> None:
    """Raise ValueError unless this is an IP address in its usual spelling, without a zone."""
    if "%" in value or str(ipaddress.ip_address(value)) != value:
        raise ValueError("is not an IP address in canonical form")


def host_key(value: str) -> None:
    """Raise ValueError unless this is "TYPE BASE64", as known_hosts (sshd(8)) has it."""
    kind, space, blob = value.partition(" ")
    try:
        raw = base64.b64decode(blob, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    name = kind.encode()
    if not space or not _KEY_TYPE.fullmatch(kind):
        raise ValueError("is not a key's type and its base64")
    # RFC 4253, section 6.6: a key begins with the name of its type.
    if not raw.startswith(len(name).to_bytes(4, "big") + name):
        raise ValueError("is not a key of the type that it names")
