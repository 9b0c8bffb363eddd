"""Arbitrary and altered documents are refused with Rejected, and never taken for another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.config.fleet_limits import FLEET as LIMITS
from agent.fleet.messages import documents, lease_exchange
from agent.fleet.messages.documents import Rejected
from agent.fleet.messages.fields import printable
from agent.fleet.messages.lease_exchange import LEASE, LeaseMessage
from tests.fleet.sample_messages import HOST, ISSUER, acknowledgement, refusal
from tests.fleet.sample_messages import LEASE as GOOD
from tests.fuzz.fleet import FLEET
from tests.parts.daemon import INSTANCE_ID

SEALED = GOOD.seal(ISSUER)
DIGEST = lease_exchange.digest(SEALED)
ANSWERS = [each.seal(HOST) for each in (acknowledgement(DIGEST), refusal(DIGEST))]
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("name", FLEET)
def test_every_seed_of_the_fuzzer_holds(name: str) -> None:
    """Every fuzz target takes the valid documents from which `make fuzz` starts."""
    target, seeds = FLEET[name]
    for seed in seeds:
        target(seed)


@pytest.mark.parametrize("name", FLEET)
@given(data=st.data())
def test_bytes_around_a_good_document_raise_nothing_else(name: str, data: Any) -> None:
    """Every fuzz target takes or refuses a valid document with bytes cut, changed or inserted."""
    target, seeds = FLEET[name]
    seed = data.draw(st.sampled_from(seeds))
    at = data.draw(st.integers(0, len(seed)))
    cut = data.draw(st.integers(0, 8))
    target(seed[:at] + data.draw(st.binary(max_size=8)) + seed[at + cut :])


@given(st.sampled_from([SEALED, *ANSWERS]), st.data())
def test_any_byte_that_changes_is_found(sealed: bytes, data: Any) -> None:
    """An envelope with any byte changed is refused."""
    at = data.draw(st.integers(0, len(sealed) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda each: each != sealed[at]))
    changed = sealed[:at] + bytes([byte]) + sealed[at + 1 :]
    with pytest.raises(Rejected):
        LeaseMessage.open(changed, {ISSUER.public})
    with pytest.raises(Rejected):
        lease_exchange.open_answer(changed, INSTANCE_ID, HOST.public, DIGEST)


@given(st.sampled_from(sorted(GOOD.content())), values)
@settings(max_examples=300)
def test_a_signed_lease_with_any_other_member_is_whole_or_refused(name: str, value: Any) -> None:
    """A signed lease with any member changed is either read back exactly or refused."""
    content = {**GOOD.content(), name: value}
    try:
        sealed = documents.seal(LEASE, content, ISSUER)
        lease = LeaseMessage.open(sealed, {ISSUER.public})
    except (Rejected, ValueError):
        return
    assert lease.seal(ISSUER) == sealed
    assert lease.ends_at <= lease.issued_at + 60_000


@given(st.dictionaries(st.text(), values, max_size=4))
def test_a_body_of_anything_is_refused(content: dict[str, Any]) -> None:
    """An arbitrary body is refused, although the right key signed it as the right kind."""
    lease = documents.seal(LEASE, content, ISSUER)
    with pytest.raises(Rejected):
        LeaseMessage.open(lease, {ISSUER.public})
    answer = documents.seal(lease_exchange.ACKNOWLEDGEMENT, content, HOST)
    with pytest.raises(Rejected):
        lease_exchange.open_answer(answer, INSTANCE_ID, HOST.public, DIGEST)


def test_of_a_long_text_no_more_is_walked_than_is_kept() -> None:
    """A text of megabytes, as a hostile sender's error can be, is cut before it is examined."""

    class Long(str):
        __slots__ = ()

        def __iter__(self) -> Iterator[str]:
            raise AssertionError("the whole text is walked")

    assert printable(Long("\x1b" + "x" * 9_999)) == "?" + "x" * (LIMITS.text_characters - 1)
