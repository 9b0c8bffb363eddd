"""Leases and answers are read as they were signed; times, hosts and issuers are checked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.key_policy import KeyPolicy
from agent.config.settings import USES
from agent.fleet.messages import documents, lease_exchange
from agent.fleet.messages.clocks import NotForThisHost, NotNow
from agent.fleet.messages.documents import Rejected
from agent.fleet.messages.lease_exchange import (
    Acknowledgement,
    LeaseMessage,
    Mark,
)
from agent.fleet.messages.signing import PrivateKey
from tests.fleet.sample_messages import HOST, ISSUER, LEASE, NOW, acknowledgement, lease, refusal
from tests.parts.daemon import INSTANCE_ID

SEALED = LEASE.seal(ISSUER)
DIGEST = lease_exchange.digest(SEALED)


def open_lease(envelope: bytes) -> LeaseMessage:
    """Open it as a host that accepts this issuer's leases."""
    return LeaseMessage.open(envelope, {ISSUER.public})


def sealed(**members: Any) -> bytes:
    """A lease with these changes of its content, validly signed."""
    return documents.seal(lease_exchange.LEASE, {**LEASE.content(), **members}, ISSUER)


CONDITIONS = {"lifetime": 60, "options": [], "pin_source": False, "uses": "once"}
conditions = st.builds(
    KeyPolicy,
    lifetime=st.just(60),
    uses=st.none() | st.sampled_from(USES),
    pin_source=st.booleans(),
    options=st.sampled_from([(), ("restrict",), ("restrict", "pty"), ("no-pty", "user-rc")]),
)


@given(
    st.binary(min_size=16, max_size=16),
    conditions,
    st.none() | st.builds(Mark, st.binary(min_size=32, max_size=32), st.integers(0, 2**40)),
    st.none() | st.just("us-east-2b"),
)
def test_a_lease_comes_back_as_it_was(
    nonce: bytes, bounds: KeyPolicy, mark: Any, zone: Any
) -> None:
    """A sealed lease is read back with every member, with and without a mark and a zone."""
    made = lease(nonce=nonce, conditions=bounds, mark=mark, zone=zone)
    assert open_lease(made.seal(ISSUER)) == made


@pytest.mark.parametrize(
    "members",
    [
        {"host": "i-nothex"},
        {"host": "i-0123456789.>"},
        {"os_user": "a b"},
        {"os_user": ""},
        {"key": "ssh-ed25519"},
        {"key": "command=x ssh-ed25519 AAAA"},
        {"key": "ssh-ed25519 AAAA\n"},
        {"nonce": "00"},
        {"issuer": str(HOST.public)},
        {"ends_at": LEASE.issued_at},
        {"ends_at": LEASE.issued_at + 60_001},
        {"issued_at": -1},
        {"issued_at": 1.5e12},
        {"issued_at": True},
        {"mark": {"digest": "00" * 32}},
        {"mark": {"digest": "00" * 31, "dated": 1}},
        {"mark": {"digest": "00" * 32, "dated": 1, "more": 1}},
        {"mark": []},
        {"zone": ""},
        {"source": "somewhere"},
        {"zone": "nowhere"},
        {"conditions": None},
        {"conditions": {"lifetime": 60, "options": [], "pin_source": False}},
        {"conditions": {"lifetime": 61, "options": [], "pin_source": False, "uses": "once"}},
        {"conditions": {"lifetime": 0, "options": [], "pin_source": False, "uses": "once"}},
        {"conditions": {"lifetime": 60, "options": [], "pin_source": None, "uses": "once"}},
        {"conditions": {"lifetime": None, "options": [], "pin_source": False, "uses": "once"}},
        {"conditions": {"lifetime": 60, "options": [], "pin_source": False, "uses": "twice"}},
        {"conditions": {**CONDITIONS, "options": ['command="id"']}},
        {"conditions": {**CONDITIONS, "options": ["pty", "restrict"]}},
        {"conditions": {**CONDITIONS, "options": ["pty", "pty"]}},
        {"conditions": {**CONDITIONS, "options": ["no-pty", "pty"]}},
        {"conditions": {"lifetime": 60, "options": None, "pin_source": False, "uses": "once"}},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_lease_of_another_form_is_refused(members: dict[str, Any]) -> None:
    """A lease with a malformed member is refused, although it is validly signed."""
    with pytest.raises(Rejected):
        open_lease(sealed(**members))


def test_a_lease_without_a_member_is_refused() -> None:
    """A lease that lacks a member is refused, even if that member may be null."""
    for name in LEASE.content():
        content = {key: value for key, value in LEASE.content().items() if key != name}
        with pytest.raises(Rejected, match=f"has no {name}"):
            open_lease(documents.seal(lease_exchange.LEASE, content, ISSUER))


def test_only_an_issuers_lease_is_taken() -> None:
    """A lease by a key that is no issuer, or not the issuer that it names, is refused."""
    for key in (HOST, PrivateKey.generate()):
        with pytest.raises(Rejected, match="not a key that is trusted"):
            open_lease(LEASE.seal(key))
    with pytest.raises(Rejected, match="names another issuer"):
        LeaseMessage.open(LEASE.seal(HOST), {HOST.public, ISSUER.public})


@pytest.mark.parametrize("apart", [-5.0, -0.5, 0.0, 3.0, 5.0])
def test_clocks_five_seconds_apart_work(apart: float) -> None:
    """A lease is accepted with clocks up to 5 s apart, in either direction."""
    LEASE.check(INSTANCE_ID, NOW + apart)


@pytest.mark.parametrize("apart", [-3600.0, -5.1, 6.1, 60.0, 86_400.0])
def test_clocks_further_apart_are_refused_with_a_reason(apart: float) -> None:
    """With clocks further apart the error says by how much, and mentions NTP."""
    with pytest.raises(NotNow, match=rf"{abs(apart):.1f} s .*clocks.*apart.*NTP"):
        LEASE.check(INSTANCE_ID, NOW + apart)


def test_a_lease_that_has_ended_is_refused() -> None:
    """A lease is refused from its end on, by the host's clock."""
    short = lease(ends_at=LEASE.issued_at + 2000, conditions=KeyPolicy(lifetime=2))
    short.check(INSTANCE_ID, NOW + 1.999)
    with pytest.raises(NotNow, match=r"ended 0\.0 s ago"):
        short.check(INSTANCE_ID, NOW + 2)


def test_a_lease_is_for_one_host() -> None:
    """A host refuses a lease for another host."""
    with pytest.raises(NotForThisHost):
        LEASE.check("i-00000000000000000", NOW)


def open_answer(envelope: bytes, digest: bytes = DIGEST) -> lease_exchange.Answer:
    """Open it as the gateway that waits for this host's answer."""
    return lease_exchange.open_answer(envelope, INSTANCE_ID, HOST.public, digest)


def test_answers_come_back_as_they_were() -> None:
    """Acknowledgements, with and without an end, and refusals are read back as signed."""
    for answer in (
        acknowledgement(DIGEST),
        refusal(DIGEST),
        Acknowledgement(DIGEST, INSTANCE_ID, "x", None),
    ):
        assert open_answer(answer.seal(HOST)) == answer


def test_an_answer_is_to_one_lease_of_one_host() -> None:
    """An answer to another lease, of another host or by another key is refused."""
    with pytest.raises(Rejected, match="another"):
        open_answer(acknowledgement(bytes(32)).seal(HOST))
    other = Acknowledgement(DIGEST, "i-00000000000000000", "x", 1)
    with pytest.raises(Rejected, match="another"):
        open_answer(other.seal(HOST))
    with pytest.raises(Rejected, match="trusted"):
        open_answer(acknowledgement(DIGEST).seal(ISSUER))


def test_a_lease_is_no_answer_and_an_answer_no_lease() -> None:
    """A lease is refused as an answer and an answer as a lease, even with a trusted key."""
    with pytest.raises(Rejected, match="not what is taken here"):
        lease_exchange.open_answer(LEASE.seal(HOST), INSTANCE_ID, HOST.public, DIGEST)
    with pytest.raises(Rejected, match="not what is taken here"):
        open_lease(acknowledgement(DIGEST).seal(ISSUER))
    as_refusal = documents.read(refusal(DIGEST).seal(HOST))
    forged = documents.canonical({**as_refusal, "kind": lease_exchange.ACKNOWLEDGEMENT})
    with pytest.raises(Rejected, match="signature"):
        open_answer(forged)


@pytest.mark.parametrize(
    "members",
    [
        {"ends_at": "1"},
        {"lease": "00"},
        {"host": None},
        {"request_id": ""},
        {"code": "x"},
    ],
    ids=str,
)
def test_an_answer_of_another_form_is_refused(members: dict[str, Any]) -> None:
    """An answer with a malformed member is refused, although the host signed it."""
    content = documents.unseal(
        acknowledgement(DIGEST).seal(HOST), {lease_exchange.ACKNOWLEDGEMENT}, {HOST.public}
    ).content
    with pytest.raises(Rejected):
        open_answer(documents.seal(lease_exchange.ACKNOWLEDGEMENT, {**content, **members}, HOST))


def test_the_digest_is_of_the_bytes_that_were_signed() -> None:
    """The digest is of the signed body, and an envelope without a body has none."""
    assert lease_exchange.digest(lease(nonce=bytes(16)).seal(ISSUER)) != DIGEST
    with pytest.raises(Rejected):
        lease_exchange.digest(b'{"body":1}')
    with pytest.raises(Rejected):
        lease_exchange.digest(b"{}")
