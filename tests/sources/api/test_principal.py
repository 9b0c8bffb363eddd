"""agent/sources/api/principal.py: who is asking, and the order in which that is checked."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from agent.audit.record import Record
from agent.leases.lease import ReplayMark
from agent.sources.api import credentials, query
from agent.sources.api.errors import (
    ApiError,
    AuthException,
    IncompleteSignature,
    InvalidClientTokenId,
    OptInRequired,
    RequestExpired,
)
from agent.sources.api.message import Peer
from agent.sources.api.principal import Authenticator, Principal
from agent.sources.throttle import TooMany
from tests.parts.clock import ManualClock
from tests.parts.daemon import CREDENTIAL, REGION
from tests.parts.signed import LOOPBACK, Call, Signer, presign, push, sign

NOW = 1_800_000_000.0
KNOWN = [
    CREDENTIAL,
    {**CREDENTIAL, "access_key_id": "AKIATOKEN", "session_token": "t/k+n="},
    {**CREDENTIAL, "access_key_id": "AKIAOFF", "enabled": False},
    {**CREDENTIAL, "access_key_id": "AKIAOLD", "expires": "2027-01-15T08:00:00Z"},
]
ALICE = Signer(at=NOW)
TOKEN = replace(ALICE, key="AKIATOKEN", token="t/k+n=")


class Door:
    """An authenticator with its own clock; `record` holds its notes for the audit."""

    def __init__(self) -> None:
        self.clock = ManualClock(wall=NOW)
        known = credentials.parse(json.dumps(KNOWN), "x")
        self.known = known
        self.authenticator = Authenticator(known, REGION, self.clock)
        self.record = Record("push", "x")

    def __call__(self, call: Call, peer: Peer = LOOPBACK) -> Principal:
        """The principal that signed the request."""
        request = call.request(peer)
        parameters = query.parse(request.query)
        self.record = Record("push", "x")
        return self.authenticator.authenticate(request, parameters, self.record)

    def fails(self, call: Call, error: type[ApiError], peer: Peer = LOOPBACK) -> None:
        """Check that the call fails with exactly this error."""
        with pytest.raises(error) as caught:
            self(call, peer)
        assert type(caught.value) is error
        # Failures are spaced out, or later ones would be throttled without being verified.
        self.clock.advance(1)


@pytest.fixture
def door() -> Door:
    """An authenticator at which nobody has failed yet."""
    return Door()


def test_a_valid_signature_yields_the_principal(door: Door) -> None:
    """A valid signature yields the principal, its rights, and the mark for replay detection."""
    call = sign(push(), ALICE)
    got = door(call)
    signature = bytes.fromhex(call.value("Authorization")[-64:])
    assert got.name == door.record.principal == "AKIAIOSFODNN7EXAMPLE"
    known = door.known.find(got.name)
    assert known is not None
    assert (got.allow, got.policy) == (known.allow, known.keys)
    assert got.mark == ReplayMark(hashlib.sha256(signature).digest(), NOW)


def test_a_presigned_request_is_authenticated(door: Door) -> None:
    """A presigned request is authenticated with and without a session token."""
    assert door(presign(push(), ALICE)).name == "AKIAIOSFODNN7EXAMPLE"
    assert door(presign(push(), TOKEN)).name == "AKIATOKEN"


def test_the_scope_must_be_this_hosts(door: Door) -> None:
    """A scope of another region is IncompleteSignature, before the date is checked."""
    with pytest.raises(IncompleteSignature):
        door(sign(push(), replace(ALICE, region="us-west-2", at=NOW - 9999)))


def test_an_old_request_expires_before_its_key_is_looked_up(door: Door) -> None:
    """An old request gets RequestExpired whether its access key is known or not."""
    for key in ("AKIAIOSFODNN7EXAMPLE", "AKIAOTHER"):
        with pytest.raises(RequestExpired):
            door(sign(push(), replace(ALICE, key=key, at=NOW - 901)))


def test_an_unknown_access_key_is_recorded_as_claimed(door: Door) -> None:
    """An unknown access key is refused, and the audit records it as claimed, not as principal."""
    door.fails(sign(push(), replace(ALICE, key="AKIAOTHER")), InvalidClientTokenId)
    assert (door.record.principal, door.record.claimed_principal) == (None, "AKIAOTHER")


@pytest.mark.parametrize("key", ["AKIAOFF", "AKIAOLD"])
def test_a_disabled_or_expired_key_is_refused(door: Door, key: str) -> None:
    """A disabled or expired key is refused with OptInRequired, whatever the signature is."""
    for secret in (ALICE.secret, "wrong"):
        with pytest.raises(OptInRequired, match=r"disabled|expired"):
            door(sign(push(), replace(ALICE, key=key, secret=secret)))


def test_a_key_expires_at_its_moment(door: Door) -> None:
    """A key is good until the moment of its expiry, and not at it or later."""
    old = replace(ALICE, key="AKIAOLD", at=NOW - 1)
    door.clock.set_wall(NOW - 1)
    assert door(sign(push(), old)).name == "AKIAOLD"
    for later in (NOW, NOW + 1):
        door.clock.set_wall(later)
        with pytest.raises(OptInRequired, match="expired"):
            door(sign(push(), old))


def test_a_wrong_signature_is_refused(door: Door) -> None:
    """A signature with another secret or over another body is refused with AuthException."""
    door.fails(sign(push(), replace(ALICE, secret="wrong")), AuthException)
    door.fails(replace(sign(push(), ALICE), body=b"{}"), AuthException)


@pytest.mark.parametrize("token", [None, "t/k+n", "t/k+n==", "other"])
@pytest.mark.parametrize("how", [sign, presign])
def test_a_missing_or_wrong_session_token_is_refused(door: Door, token: Any, how: Any) -> None:
    """A missing or wrong session token is refused with AuthException; the right one is accepted."""
    door.fails(how(push(), replace(TOKEN, token=token)), AuthException)
    assert door(how(push(), TOKEN)).name == "AKIATOKEN"


def test_an_unexpected_session_token_is_refused(door: Door) -> None:
    """A session token with a credential that has none is refused with AuthException."""
    door.fails(sign(push(), replace(ALICE, token="token")), AuthException)


def test_the_bodys_hash_if_given_must_be_right(door: Door) -> None:
    """X-Amz-Content-SHA256 must be signed and be the hash of the body."""
    call = push()
    right = hashlib.sha256(call.body).hexdigest()
    assert door(sign(call.plus("X-Amz-Content-SHA256", right), ALICE)).name
    for wrong in ("UNSIGNED-PAYLOAD", right.upper(), "0" * 64, ""):
        door.fails(sign(call.plus("X-Amz-Content-SHA256", wrong), ALICE), AuthException)
        door.fails(sign(call, ALICE).plus("X-Amz-Content-SHA256", wrong), IncompleteSignature)


def test_a_client_certificate_where_one_is_demanded(door: Door) -> None:
    """If one is demanded, a missing client certificate is refused before the key is looked up."""
    none = Peer("127.0.0.1", tls="TLSv1.3 X", certificate_demanded=True)
    for key in (ALICE.key, "AKIAOTHER", "AKIAOFF"):
        door.fails(sign(push(), replace(ALICE, key=key)), InvalidClientTokenId, none)
    assert door(sign(push(), ALICE), replace(none, certificate="CN=deploy")).name == ALICE.key


def test_guessing_from_one_source_is_refused_unverified(door: Door) -> None:
    """After ten failures further requests from that source for that key are not verified.

    An IPv6 /64 is one source. Other sources and other keys are not affected.
    """
    wrong, near, far = sign(push(), replace(ALICE, secret="x")), "2001:db8::2", "2001:db8:1::1"
    for _ in range(10):
        with pytest.raises(AuthException):
            door(wrong, Peer("2001:db8::1"))
    for call in (wrong, sign(push(), ALICE)):
        with pytest.raises(TooMany):
            door(call, Peer(near))
    assert door(sign(push(), TOKEN), Peer(near)).name == "AKIATOKEN"
    door.fails(sign(push(), replace(ALICE, key="AKIAOTHER")), InvalidClientTokenId, Peer(near))
    door.fails(wrong, AuthException, Peer(far))
    assert door(sign(push(), ALICE), Peer(far)).name == ALICE.key


def test_keys_that_are_not_known_count_as_one(door: Door) -> None:
    """A source has ten failed attempts for all unknown access keys together."""
    for number in range(10):
        with pytest.raises(InvalidClientTokenId):
            door(sign(push(), replace(ALICE, key=f"AKIA{number}")))
    with pytest.raises(TooMany):
        door(sign(push(), replace(ALICE, key="AKIAOTHER")))


def test_credentials_may_change_at_any_time(door: Door) -> None:
    """A revoked access key is unknown from the next request on."""
    door(sign(push(), ALICE))
    door.authenticator.replace(credentials.parse("[]", "x"))
    door.fails(sign(push(), ALICE), InvalidClientTokenId)
