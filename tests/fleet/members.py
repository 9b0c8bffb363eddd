"""A fleet's enrolment with fixed keys, a registry, and hosts that send requests to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from agent.fleet.bus import nkeys
from agent.fleet.bus.nkeys import KeyPair
from agent.fleet.home.enrolment import Enrolled, Enrolment, Fleet
from agent.fleet.home.registry import SqliteRegistry
from agent.fleet.messages import membership
from agent.fleet.messages.certificates import HostCertificate
from agent.fleet.messages.membership import HostKeys, HostRequest, Membership
from agent.fleet.messages.tokens import JoinToken
from tests.fleet.sample_messages import ISSUER, NOW
from tests.parts.daemon import INSTANCE_ID

URL = "https://gateway.example:8443"
HOUR = 3600.0
THIS = Fleet(
    ISSUER,
    (ISSUER.public,),
    KeyPair(nkeys.ACCOUNT, bytes(32)),
    KeyPair(nkeys.ACCOUNT, bytes([1] * 32)).public,
    URL,
    ("tls://bus-1.example:4222",),
    (URL,),
    b"authority",
)


def token(**changes: Any) -> JoinToken:
    """A token for hosts called web-*, valid for an hour and two uses, with these changes."""
    members: dict[str, Any] = {
        "id": bytes(range(16)),
        "url": URL,
        "ca": bytes(32),
        "names": ("web-*",),
        "instances": ("*",),
        "tags": {"role": "web"},
        "uses": 2,
        "issued_at": int(NOW * 1000),
        "ends_at": int((NOW + HOUR) * 1000),
        **changes,
    }
    return JoinToken(**members)


class Host:
    """A host with its own keys that asks to join, renew and leave."""

    def __init__(self, instance: str = INSTANCE_ID, name: str = "web-1") -> None:
        self.instance = instance
        self.name = name
        self.keys = HostKeys.generate()
        self.membership: Optional[Membership] = None

    def ask(self, kind: str, voucher: str, now: float = NOW) -> bytes:
        """The text of a request."""
        asked_at = int(now * 1000)
        return HostRequest.seal(kind, self.instance, self.name, self.keys, voucher, asked_at)

    def join(self, desk: Enrolment, by: JoinToken, now: float = NOW) -> Membership:
        """Join with a token that the issuer signed."""
        request = self.ask(membership.JOIN, by.dump(ISSUER), now)
        return self._keep(desk.join(request, now), request)

    def renew(self, desk: Enrolment, now: float) -> Membership:
        """Renew the host's membership."""
        assert self.membership is not None
        request = self.ask(membership.RENEWAL, self.membership.certificate, now)
        return self._keep(desk.renew(request, now), request)

    def leave(self, desk: Enrolment, now: float = NOW) -> None:
        """Leave the fleet."""
        assert self.membership is not None
        desk.leave(self.ask(membership.LEAVE, self.membership.certificate, now), now)

    def _keep(self, enrolled: Enrolled, request: bytes) -> Membership:
        assert enrolled.host == self.instance
        assert enrolled.membership is not None
        self.membership = Membership.open(enrolled.membership, {ISSUER.public}, request)
        return self.membership

    @property
    def certificate(self) -> HostCertificate:
        """The host's certificate."""
        assert self.membership is not None
        sealed = self.membership.certificate.encode()
        return HostCertificate.open(sealed, {ISSUER.public})


class Desk(Enrolment):
    """The enrolment of `THIS`, with a registry in a folder; `revoked`: removed keys and when."""

    def __init__(self, folder: Path, fleet: Fleet = THIS) -> None:
        self.registry = SqliteRegistry(str(folder / "hosts.db"))
        self.revoked: dict[str, int] = {}
        super().__init__(lambda: fleet, self.registry, self._revocations)

    def _revocations(self) -> Mapping[str, int]:
        return self.revoked
