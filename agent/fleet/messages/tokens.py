"""Join tokens: permission for hosts to join the fleet, signed by an issuer.

It is a bearer token: its holder may join as often, and under such names, as it says. It also fixes
the hosts' tags. Times are milliseconds of the wall clock since the Unix epoch.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Container, Mapping
from dataclasses import dataclass

from agent.config import patterns
from agent.config.fleet_limits import FLEET
from agent.fleet.messages import documents
from agent.fleet.messages.documents import ANYBODY, Rejected
from agent.fleet.messages.fields import Fields
from agent.fleet.messages.lease_exchange import DIGEST_BYTES, NONCE_BYTES
from agent.fleet.messages.signing import PrivateKey, PublicKey

KIND = "join token"
_PREFIX = "sixtykey-join."
_AGAIN = "copy all that sixtykey fleet token printed, or make another token"


@dataclass(frozen=True)
class JoinToken:
    """Permission to join, signed by an issuer.

    `names` and `instances` are glob patterns; one of each must match. `ca` is the SHA-256 of the
    authority that issued the certificate of the gateway at `url`.
    """

    id: bytes
    url: str
    ca: bytes
    names: tuple[str, ...]
    instances: tuple[str, ...]
    tags: Mapping[str, str]
    uses: int
    issued_at: int
    ends_at: int

    def dump(self, key: PrivateKey) -> str:
        """The token's text, one word, which a person gives to a host."""
        content = {
            "ca": self.ca.hex(),
            "ends_at": self.ends_at,
            "id": self.id.hex(),
            "instances": list(self.instances),
            "issued_at": self.issued_at,
            "names": list(self.names),
            "tags": dict(self.tags),
            "url": self.url,
            "uses": self.uses,
        }
        sealed = documents.seal(KIND, content, key)
        return _PREFIX + base64.urlsafe_b64encode(sealed).decode("ascii").rstrip("=")

    @classmethod
    def parse(
        cls, text: str, issuers: Container[PublicKey] = ANYBODY
    ) -> tuple[JoinToken, PublicKey]:
        """Verify and parse a token; returns it and the issuer that signed it. Raises Rejected."""
        sealed = _unbase64(text.strip())
        try:
            document = documents.unseal(sealed, {KIND}, issuers)
        except Rejected as error:
            raise Rejected(f"the join token is not valid: {error}; {_AGAIN}") from None
        fields = Fields(document.content, "the token")
        token = cls(
            id=fields.bytes("id", NONCE_BYTES),
            url=fields.text("url"),
            ca=fields.bytes("ca", DIGEST_BYTES),
            names=fields.texts("names", patterns.glob),
            instances=fields.texts("instances", patterns.glob),
            tags=fields.tags("tags"),
            uses=fields.whole("uses", 1, 1_000_000),
            issued_at=fields.time("issued_at"),
            ends_at=fields.time("ends_at"),
        )
        fields.end()
        return token, document.key

    def check(self, host: str, name: str, url: str, now: float) -> None:
        """Raise Rejected unless this host may join with it at this gateway; `now` in seconds."""
        if url != self.url:
            raise Rejected(f"the token is for {self.url}, and this is {url}")
        if now >= self.ends_at / 1000:
            raise Rejected("the token has expired: make another with sixtykey fleet token")
        if now < self.issued_at / 1000 - FLEET.request_seconds:
            raise Rejected("the token is from the future: this gateway's clock is behind")
        if not patterns.matches(name, self.names):
            raise Rejected(f"the token is for hosts called {' or '.join(self.names)}, not {name}")
        if not patterns.matches(host, self.instances):
            raise Rejected(f"the token is not for the instance {host}")
        if name != host and _is_instance_id(name):
            raise Rejected(
                f"{name} looks like another host's instance id: give this one a name with --name"
            )


def _is_instance_id(name: str) -> bool:
    try:
        patterns.instance_id(name)
    except ValueError:
        return False
    return True


def _unbase64(text: str) -> bytes:
    wrong = Rejected(f"not a join token: one begins with {_PREFIX}; {_AGAIN}")
    if not text.startswith(_PREFIX):
        raise wrong
    text = text[len(_PREFIX) :]
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise wrong from None
