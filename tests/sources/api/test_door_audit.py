"""Which requests the doors record one by one, and which they sum up in one record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.audit.record import Record
from agent.config.limits import LIMITS
from agent.config.settings import Config, Keys, Rate
from agent.sources.api.errors import ServiceException
from agent.sources.api.local_door import Answer
from tests.parts.daemon import CREDENTIAL
from tests.parts.signed import LOOPBACK, Call, push
from tests.sources.api.front import LOCAL, FailingStore, Front, pushing, run

OUTSIDE = replace(LOOPBACK, source="203.0.113.7")
KEY = CREDENTIAL["access_key_id"]
CROWD = 10 * LIMITS.sampled_burst


async def flood(front: Front, call: Call, peer: Any = LOOPBACK) -> dict[str, Any]:
    """Send the same call many times; return the record that sums up the unrecorded ones."""
    for _ in range(CROWD):
        await front.answer(call, peer)
    front.audit.report_summed(0.0)
    return front.records()[-1]


@run
async def test_strangers_do_not_fill_the_log() -> None:
    """The first unauthenticated requests of a source are recorded, and the rest summed up."""
    front = Front()
    summed = await flood(front, Call(), OUTSIDE)
    assert len(front.lines) == LIMITS.sampled_burst + 1
    assert (summed["kind"], summed["groups"]) == (
        "stranger", {"203.0.113.7": CROWD - LIMITS.sampled_burst},
    )  # fmt: skip
    assert front.audit.counts["push", "MissingAuthenticationToken"] == CROWD
    # A valid push is still recorded, and so is a stranger from another source.
    for call, peer in ((front.signed(push()), OUTSIDE), (Call(), LOOPBACK), (Call(), LOCAL)):
        before = len(front.lines)
        await front.answer(call, peer)
        assert len(front.lines) == before + 1


@run
async def test_strangers_of_many_sources_do_not_fill_the_log() -> None:
    """Unauthenticated requests from many sources share one limit on their records."""
    front = Front()
    for number in range(2 * LIMITS.sampled_total_burst):
        source = f"10.{number // 250}.0.{number % 250}"
        await front.answer(Call(), replace(LOOPBACK, source=source))
    assert len(front.lines) == LIMITS.sampled_total_burst
    assert await front.code(front.signed(push())) == ""
    assert front.records()[-1]["outcome"] == "allowed"


@run
async def test_an_unverified_access_key_counts_as_a_strangers() -> None:
    """A flood with a claimed access key counts for its source, not for that principal."""
    front = Front(known=[CREDENTIAL, {**CREDENTIAL, "access_key_id": "AKIAOTHER"}])
    claim = front.signed(push(), secret="wrong")
    summed = await flood(front, claim, OUTSIDE)
    assert list(summed["groups"]) == ["203.0.113.7"]
    for record in front.records()[:-1]:
        assert "principal" not in record
        assert record["claimed_principal"] == KEY
    assert await front.code(front.signed(push(InstanceOSUser="no/user"))) == "InvalidArgsException"
    assert front.records()[-1]["principal"] == KEY


@run
async def test_a_captured_request_that_is_replayed_does_not_fill_the_log() -> None:
    """A push and its first replays are recorded; further replays are summed up."""
    front = Front()
    summed = await flood(front, front.signed(push()))
    assert len(front.lines) == 1 + LIMITS.sampled_burst + 1
    assert (summed["kind"], summed["decisions"], summed["groups"]) == (
        "replay",
        {"push/allowed": CROWD - 1 - LIMITS.sampled_burst},
        {KEY: CROWD - 1 - LIMITS.sampled_burst},
    )
    assert await front.code(front.signed(push())) == ""
    assert "replay" not in front.records()[-1]


@run
async def test_pushes_above_the_rate_do_not_fill_the_log() -> None:
    """Allowed pushes and the first throttled ones are recorded; the rest are summed up."""
    front = Front(pushing(rate=Rate(per_credential=5)))
    for _ in range(CROWD):
        await front.answer(front.signed(push()))
    outcomes = [record["outcome"] for record in front.records()]
    assert outcomes == ["allowed"] * 5 + ["ThrottlingException"] * LIMITS.sampled_burst
    front.audit.report_summed(0.0)
    assert front.records()[-1]["kind"] == "throttled"


@run
async def test_refusals_of_a_credential_do_not_fill_the_log() -> None:
    """Refused pushes are limited for each credential, so another's refusal is still recorded."""
    other = {**CREDENTIAL, "access_key_id": "AKIAOTHER"}
    front = Front(
        pushing(rate=Rate(per_credential=10_000, total=10_000)), known=[CREDENTIAL, other]
    )
    for _ in range(CROWD):
        await front.answer(front.signed(push(InstanceOSUser="no/user")))
    assert len(front.lines) == LIMITS.sampled_burst
    await front.answer(front.signed(push(InstanceOSUser="no/user"), key="AKIAOTHER"))
    assert front.records()[-1]["principal"] == "AKIAOTHER"
    front.audit.report_summed(0.0)
    assert front.records()[-1]["kind"] == "refused"


@pytest.mark.parametrize("peer", [OUTSIDE, LOCAL], ids=["network", "local"])
def test_requests_that_nothing_was_read_of_do_not_fill_the_log(peer: Any) -> None:
    """While the store is unusable nobody is authenticated, so all requests count as strangers'."""

    @run
    async def test() -> None:
        """Flood a front without a store."""
        front = Front(store=FailingStore(unusable=True))
        summed = await flood(front, front.signed(push()), peer)
        assert (summed["kind"], summed["decisions"]) == (
            "stranger", {"push/ServiceUnavailable": CROWD - LIMITS.sampled_burst},
        )  # fmt: skip

    test()


@run
async def test_an_operators_changes_are_always_recorded() -> None:
    """Repeated read actions are summed up, while every revocation is recorded."""

    async def done(_: Any, __: bytes, ___: Record) -> Answer:
        return Answer({})

    front = Front(actions={"Sixtykey.Why": done, "Sixtykey.Revoke": done})
    await flood(front, Call(headers=(("X-Amz-Target", "Sixtykey.Why"),)), LOCAL)
    assert len(front.lines) == LIMITS.sampled_burst + 1
    assert front.records()[-1]["groups"] == {"uid:1000": CROWD - LIMITS.sampled_burst}
    await flood(front, Call(headers=(("X-Amz-Target", "Sixtykey.Revoke"),)), LOCAL)
    assert [each["event"] for each in front.records()].count("revoke") == CROWD


@run
async def test_a_revocation_that_may_not_last_is_always_recorded() -> None:
    """A revocation that only the journal failed to store has ended keys, and is always recorded."""

    async def revoke(_: Any, __: bytes, record: Record) -> Answer:
        assert record.event == "revoke"
        raise ServiceException("Revoked until the daemon restarts.")

    front = Front(actions={"Sixtykey.Revoke": revoke})
    await flood(front, Call(headers=(("X-Amz-Target", "Sixtykey.Revoke"),)), LOCAL)
    assert [each["outcome"] for each in front.records()] == ["ServiceException"] * CROWD


@run
async def test_the_longest_record_fits_into_a_line_of_journald() -> None:
    """The longest audit record is below 32 KiB; journald splits lines of more than 48 KiB."""
    front = Front()
    wide = "\U0001f511" * 1500
    call = push(InstanceId=wide, InstanceOSUser=wide)
    body = call.body.decode("unicode-escape").encode("utf-16", "surrogatepass").decode("utf-16")
    call = replace(call, body=body.encode()).plus("User-Agent", "\\" * 8000)
    assert len(call.body) < LIMITS.body_bytes
    assert await front.code(front.signed(call)) == "InvalidArgsException"
    assert 24 * 1024 < len(front.lines[-1]) < 32 * 1024


@run
async def test_a_denied_user_is_refused_under_the_name_of_who_asked() -> None:
    """A refusal on the local push socket names the uid of the local user."""
    front = Front(Config(keys=Keys(deny_users=("denied",))))
    assert await front.code(push(InstanceOSUser="denied"), LOCAL) == "AccessDeniedException"
    assert front.records()[-1]["principal"] == "uid:1000"
