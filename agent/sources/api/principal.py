"""Who is asking: an access key with a right signature, or a local user on the push socket."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional, Protocol

from agent.audit.record import Record
from agent.config.key_policy import KeyPolicy
from agent.config.limits import LIMITS
from agent.host.clock import Clock
from agent.leases.lease import ReplayMark
from agent.sources.api import authentication
from agent.sources.api.credentials import Credential, Credentials
from agent.sources.api.errors import AuthException, InvalidClientTokenId
from agent.sources.api.message import Request, one_source
from agent.sources.api.sigv4 import Authentication, check_signature
from agent.sources.throttle import FailurePace

# An instance's tags, where they are known: at a fleet's gateway.
Tags = Mapping[str, str]


class Principal(Protocol):
    """A verified sender. `mark` identifies a replay of its request; None: it cannot be replayed."""

    @property
    def name(self) -> str:
        """Its name in the audit."""

    @property
    def mark(self) -> Optional[ReplayMark]:
        """Identifies a replay of the request."""

    @property
    def policy(self) -> KeyPolicy:
        """Its own rules for keys."""

    def check_allowed(
        self, source: str, instance: str, os_user: str, tags: Optional[Tags] = None
    ) -> None:
        """Raise the reference's error unless it may push this."""


@dataclass(frozen=True)
class LocalUser:
    """A member of the push socket's group, which is as good as root: everything is allowed."""

    name: str
    mark: None = None
    policy: KeyPolicy = field(default_factory=KeyPolicy)

    def check_allowed(
        self, source: str, instance: str, os_user: str, tags: Optional[Tags] = None
    ) -> None:
        """Allow it: the socket's mode has decided already."""


@dataclass(frozen=True)
class SignedBy:
    """An access key with a valid signature."""

    credential: Credential
    mark: ReplayMark

    @property
    def name(self) -> str:
        """The access key id."""
        return self.credential.access_key_id

    @property
    def policy(self) -> KeyPolicy:
        """The credential's own rules for keys."""
        return self.credential.keys

    def check_allowed(
        self, source: str, instance: str, os_user: str, tags: Optional[Tags] = None
    ) -> None:
        """Raise NotAuthorized, AuthException or AccessDeniedException, in this order."""
        self.credential.check_allowed(source, instance, os_user, tags)


class Authenticator:
    """Verifies signed requests against the current credentials."""

    def __init__(self, credentials: Credentials, region: str, clock: Clock) -> None:
        self._credentials = credentials
        self._region = region
        self._clock = clock
        self._failures = FailurePace()

    def replace(self, credentials: Credentials) -> None:
        """Use these credentials from the next request on."""
        self._credentials = credentials

    def authenticate(
        self, request: Request, parameters: Mapping[str, str], record: Record
    ) -> SignedBy:
        """Verify the sender. `record` gets the claimed name first, and the verified one at the end.

        Raises:
            TooMany: too many failures; nothing was verified.
            ApiError: missing, unreadable, expired, disabled, unknown, or wrong.
        """
        claimed = authentication.read(request, parameters)
        record.claimed_principal = claimed.access_key_id
        claimed.check_scope(self._region)
        now = self._clock.wall()
        claimed.check_date(now, LIMITS.clock_skew_seconds)
        guess, boottime = self._guess(request, claimed), self._clock.boottime()
        self._failures.check(guess, boottime)
        try:
            credential = self._verify(request, claimed, now)
        except (InvalidClientTokenId, AuthException):
            self._failures.count(guess, boottime)
            raise
        record.principal, record.claimed_principal = credential.access_key_id, None
        digest = hashlib.sha256(bytes.fromhex(claimed.signature)).digest()
        return SignedBy(credential, ReplayMark(digest, claimed.signed_at))

    def _verify(self, request: Request, claimed: Authentication, now: float) -> Credential:
        if request.peer.certificate_demanded and request.peer.certificate is None:
            raise InvalidClientTokenId("A client certificate is required here.")
        credential = self._credentials.find(claimed.access_key_id)
        credential.check_active(now)
        _check_payload_hash(request)
        check_signature(request, claimed, credential.secret_access_key)
        _check_token(credential, claimed)
        return credential

    def _guess(self, request: Request, claimed: Authentication) -> tuple[str, str]:
        """What failures are counted by: the source and the access key.

        So another user at a guesser's address is not blocked, unless they use the same key. Unknown
        keys count as one, because anybody can make up any number of them.
        """
        known = claimed.access_key_id in self._credentials
        return one_source(request.peer.source), claimed.access_key_id if known else ""


def _check_payload_hash(request: Request) -> None:
    """Check that X-Amz-Content-SHA256, if given, is the body's; UNSIGNED-PAYLOAD is refused."""
    for value in request.values(b"x-amz-content-sha256"):
        digest = hashlib.sha256(request.body).hexdigest().encode()
        if not hmac.compare_digest(value, digest):
            raise AuthException("X-Amz-Content-SHA256 is not the SHA-256 of the body.")


def _check_token(credential: Credential, claimed: Authentication) -> None:
    expected = credential.session_token or ""
    if not hmac.compare_digest(expected.encode(), (claimed.token or "").encode()):
        raise AuthException(
            "The session token is missing or wrong."
            if expected
            else "These credentials have no session token, and one was given."
        )
