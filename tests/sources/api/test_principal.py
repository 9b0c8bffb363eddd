"""agent/sources/api/principal.py: who is asking, in the order in which it is decided."""

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
from agent.sources.api.principal import Authenticator, SignedBy
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
    """An authenticator at a time of its own; what it notes for the audit is in `record`."""

    def __init__(self) -> None:
        self.clock = ManualClock(wall=NOW)
        known = credentials.parse(json.dumps(KNOWN), "x")
        self.known = known
        self.authenticator = Authenticator(known, REGION, self.clock)
        self.record = Record("push", "x")

    def __call__(self, call: Call, peer: Peer = LOOPBACK) -> SignedBy:
        """Who that is."""
        request = call.request(peer)
        parameters = query.parse(query.split(request.target)[1])
        self.record = Record("push", "x")
        return self.authenticator.authenticate(request, parameters, self.record)

    def fails(self, call: Call, error: type[ApiError], peer: Peer = LOOPBACK) -> None:
        """It must fail with this error."""
        with pytest.raises(error) as caught:
            self(call, peer)
        assert type(caught.value) is error
        # Each a while after the one before, or guessing would be refused unverified.
        self.clock.advance(1)


@pytest.fixture
def door() -> Door:
    """One that nobody has failed at."""
    return Door()


def test_a_right_signature(door: Door) -> None:
    """The access key's name and rights, and what a replay would present again."""
    call = sign(push(), ALICE)
    got = door(call)
    signature = bytes.fromhex(call.value("Authorization")[-64:])
    assert got.name == door.record.principal == "AKIAIOSFODNN7EXAMPLE"
    assert got.credential is door.known.find(got.name)
    assert got.mark == ReplayMark(hashlib.sha256(signature).digest(), NOW)


def test_a_presigned_request(door: Door) -> None:
    """The same of the query string, with and without a session token."""
    assert door(presign(push(), ALICE)).name == "AKIAIOSFODNN7EXAMPLE"
    assert door(presign(push(), TOKEN)).name == "AKIATOKEN"


def test_the_scope_must_be_this_hosts(door: Door) -> None:
    """Another region is IncompleteSignature, before the date is looked at."""
    with pytest.raises(IncompleteSignature):
        door(sign(push(), replace(ALICE, region="us-west-2", at=NOW - 9999)))


def test_an_old_request_expires_before_its_key_is_looked_up(door: Door) -> None:
    """RequestExpired tells nobody which access keys there are."""
    for key in ("AKIAIOSFODNN7EXAMPLE", "AKIAOTHER"):
        with pytest.raises(RequestExpired):
            door(sign(push(), replace(ALICE, key=key, at=NOW - 901)))


def test_an_unknown_key(door: Door) -> None:
    """InvalidClientTokenId, and the audit knows which key was claimed, and that it is a claim."""
    door.fails(sign(push(), replace(ALICE, key="AKIAOTHER")), InvalidClientTokenId)
    assert (door.record.principal, door.record.claimed_principal) == (None, "AKIAOTHER")


@pytest.mark.parametrize("key", ["AKIAOFF", "AKIAOLD"])
def test_a_key_that_is_off(door: Door, key: str) -> None:
    """OptInRequired, whatever the signature."""
    for secret in (ALICE.secret, "wrong"):
        with pytest.raises(OptInRequired):
            door(sign(push(), replace(ALICE, key=key, secret=secret)))


def test_a_wrong_signature(door: Door) -> None:
    """AuthException: another secret, or another body than the one that was signed."""
    door.fails(sign(push(), replace(ALICE, secret="wrong")), AuthException)
    door.fails(replace(sign(push(), ALICE), body=b"{}"), AuthException)


@pytest.mark.parametrize("token", [None, "t/k+n", "t/k+n==", "other"])
@pytest.mark.parametrize("how", [sign, presign])
def test_a_missing_or_wrong_token(door: Door, token: Any, how: Any) -> None:
    """AuthException, though signed with the right secret; the right token passes."""
    door.fails(how(push(), replace(TOKEN, token=token)), AuthException)
    assert door(how(push(), TOKEN)).name == "AKIATOKEN"


def test_a_token_that_nobody_gave(door: Door) -> None:
    """A token with credentials that have none is AuthException."""
    door.fails(sign(push(), replace(ALICE, token="token")), AuthException)


def test_the_bodys_hash_if_given_must_be_right(door: Door) -> None:
    """UNSIGNED-PAYLOAD and another body's hash are AuthException, and it must be signed."""
    call = push()
    right = hashlib.sha256(call.body).hexdigest()
    assert door(sign(call.plus("X-Amz-Content-SHA256", right), ALICE)).name
    for wrong in ("UNSIGNED-PAYLOAD", right.upper(), "0" * 64, ""):
        door.fails(sign(call.plus("X-Amz-Content-SHA256", wrong), ALICE), AuthException)
        door.fails(sign(call, ALICE).plus("X-Amz-Content-SHA256", wrong), IncompleteSignature)


def test_a_client_certificate_where_one_is_demanded(door: Door) -> None:
    """None is InvalidClientTokenId, before the access key is looked at; any verified one passes."""
    none = Peer("127.0.0.1", tls="TLSv1.3 X", certificate_demanded=True)
    for key in (ALICE.key, "AKIAOTHER", "AKIAOFF"):
        door.fails(sign(push(), replace(ALICE, key=key)), InvalidClientTokenId, none)
    assert door(sign(push(), ALICE), replace(none, certificate="CN=deploy")).name == ALICE.key


def test_guessing_from_one_source_is_refused_unverified(door: Door) -> None:
    """The eleventh is, an IPv6 neighbour's too; other sources and other keys are looked at."""
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
    """A client that invents access key ids has ten attempts for all of them together."""
    for number in range(10):
        with pytest.raises(InvalidClientTokenId):
            door(sign(push(), replace(ALICE, key=f"AKIA{number}")))
    with pytest.raises(TooMany):
        door(sign(push(), replace(ALICE, key="AKIAOTHER")))


def test_credentials_may_change_at_any_time(door: Door) -> None:
    """A key that was revoked is unknown from the next request on."""
    door(sign(push(), ALICE))
    door.authenticator.replace(credentials.parse("[]", "x"))
    door.fails(sign(push(), ALICE), InvalidClientTokenId)
