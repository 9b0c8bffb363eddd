"""Who is asking: an access key with a right signature, or a local user on the push socket."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from agent.config.settings import LIMITS
from agent.host.clock import Clock
from agent.leases.lease import ReplayMark
from agent.sources.api import authentication
from agent.sources.api.credentials import Credential, Credentials
from agent.sources.api.errors import ApiError, AuthException, InvalidClientTokenId
from agent.sources.api.message import Request, one_source
from agent.sources.api.sigv4 import Authentication, check_signature
from agent.sources.api.throttle import FailurePace


class AuthenticationFailed(Exception):
    """Whoever asks is not who they say. `error` is the answer, `delay` (s) how long it waits."""

    def __init__(self, error: ApiError, delay: float) -> None:
        super().__init__(str(error))
        self.error = error
        self.delay = delay


@dataclass(frozen=True)
class Principal:
    """Who is asking. `credential` and `mark` are None for a local user."""

    name: str
    credential: Optional[Credential] = None
    mark: Optional[ReplayMark] = None


class Authenticator:
    """Verifies requests against the credentials of the moment."""

    def __init__(self, credentials: Credentials, region: str, clock: Clock) -> None:
        self.credentials = credentials
        self._region = region
        self._clock = clock
        self._failures = FailurePace()

    def authenticate(
        self, request: Request, parameters: Mapping[str, str], facts: dict[str, object]
    ) -> Principal:
        """Who is asking; `facts` of the audit record learn the name before it is verified.

        Raises:
            AuthenticationFailed: unknown, or the signature or token is wrong.
            ApiError: the authentication is missing, unreadable or expired, or was disabled.
        """
        if request.peer.uid is not None:
            facts["principal"] = f"uid:{request.peer.uid}"
            return Principal(f"uid:{request.peer.uid}")
        claimed = authentication.read(request, parameters)
        facts["principal"] = claimed.access_key_id
        claimed.check_scope(self._region)
        now = self._clock.wall()
        claimed.check_date(now, LIMITS.clock_skew_seconds)
        try:
            credential = self._known(request, claimed, now)
            _check_payload_hash(request)
            check_signature(request, claimed, credential.secret_access_key)
            _check_token(credential, claimed)
        except (InvalidClientTokenId, AuthException) as error:
            delay = self._failures.delay(one_source(request.peer.source), self._clock.boottime())
            raise AuthenticationFailed(error, delay) from None
        digest = hashlib.sha256(bytes.fromhex(claimed.signature)).digest()
        return Principal(
            credential.access_key_id, credential, ReplayMark(digest, claimed.signed_at)
        )

    def _known(self, request: Request, claimed: Authentication, now: float) -> Credential:
        if request.peer.certificate_demanded and request.peer.certificate is None:
            raise InvalidClientTokenId("A client certificate is required here.")
        credential = self.credentials.find(claimed.access_key_id)
        credential.check_active(now)
        return credential


def _check_payload_hash(request: Request) -> None:
    """A given X-Amz-Content-SHA256 must be the body's; UNSIGNED-PAYLOAD is not."""
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
