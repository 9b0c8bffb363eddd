"""Who is asking: an access key with a right signature, or a local user on the push socket."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from agent.audit.record import Record
from agent.config.key_policy import KeyPolicy
from agent.config.limits import LIMITS
from agent.host.clock import Clock
from agent.leases.lease import ReplayMark
from agent.sources.api import authentication
from agent.sources.api.allow import Allow
from agent.sources.api.claim import Claim
from agent.sources.api.credentials import Credential, Credentials
from agent.sources.api.errors import AuthException, InvalidClientTokenId, OptInRequired
from agent.sources.api.failures import FailurePace
from agent.sources.api.message import Request, one_source
from agent.sources.api.sigv4 import check_signature

# A member of the push socket's group is as good as root.
EVERYTHING = Allow(os_users=("*",))


@dataclass(frozen=True)
class Principal:
    """A verified sender: an access key with a valid signature, or a local user.

    Attributes:
        name: the access key id, or uid:N.
        allow: whom it may push for.
        policy: its own rules for keys.
        mark: identifies a replay of its request; None: it cannot be replayed.
    """

    name: str
    allow: Allow
    policy: KeyPolicy
    mark: Optional[ReplayMark]


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
    ) -> Principal:
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
        dated = claimed.signed_at
        credential = self._credentials.find(claimed.access_key_id)
        # Failures are counted by source and access key: so another user at a guesser's address is
        # not blocked, unless they use the same key. Unknown keys count as one, because anybody can
        # make up any number of them.
        known = "" if credential is None else credential.access_key_id
        guess, boottime = (one_source(request.peer.source), known), self._clock.boottime()
        self._failures.check(guess, boottime)
        try:
            credential = _verify(request, claimed, credential, now)
        except (InvalidClientTokenId, AuthException):
            self._failures.count(guess, boottime)
            raise
        record.principal, record.claimed_principal = credential.access_key_id, None
        digest = hashlib.sha256(bytes.fromhex(claimed.signature)).digest()
        mark = ReplayMark(digest, dated)
        return Principal(credential.access_key_id, credential.allow, credential.keys, mark)


def _verify(
    request: Request, claimed: Claim, credential: Optional[Credential], now: float
) -> Credential:
    """The credential, if it is the sender's. Raises ApiError."""
    if request.peer.certificate_demanded and request.peer.certificate is None:
        raise InvalidClientTokenId("A client certificate is required here.")
    if credential is None:
        raise InvalidClientTokenId("The access key ID is not known here.")
    _check_active(credential, now)
    _check_payload_hash(request)
    check_signature(request, claimed, credential.secret_access_key)
    _check_token(credential, claimed)
    return credential


def _check_active(credential: Credential, now: float) -> None:
    """Raise OptInRequired if it is disabled or expired at `now` (wall clock, s)."""
    if not credential.enabled:
        raise OptInRequired("This access key is disabled.")
    if credential.expires is not None and now >= credential.expires:
        raise OptInRequired("This access key has expired.")


def _check_payload_hash(request: Request) -> None:
    """Check that X-Amz-Content-SHA256, if given, is the body's; UNSIGNED-PAYLOAD is refused."""
    for value in request.values(b"x-amz-content-sha256"):
        digest = hashlib.sha256(request.body).hexdigest().encode()
        if not hmac.compare_digest(value, digest):
            raise AuthException("X-Amz-Content-SHA256 is not the SHA-256 of the body.")


def _check_token(credential: Credential, claimed: Claim) -> None:
    expected = credential.session_token or ""
    if not hmac.compare_digest(expected.encode(), (claimed.token or "").encode()):
        raise AuthException(
            "The session token is missing or wrong."
            if expected
            else "These credentials have no session token, but one was sent."
        )
