"""agent/sources/api: the requests that the doors refuse, and the order of their checks."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from agent.config.settings import Config, Keys
from agent.leases.lease import Horizon, TableFull
from tests.parts.daemon import CREDENTIAL, INSTANCE_ID
from tests.parts.signed import Call, push
from tests.sources.api.front import LOCAL, FailingStore, Front, run


@run
async def test_draining_answers_before_anything_else() -> None:
    """While draining, every request is refused with ServiceUnavailable, even a malformed one."""
    front = Front()
    front.network.drain()
    for call in (front.signed(push()), Call(method="GET", target="/x?%")):
        answer = await front.answer(call)
        assert (answer.status, answer.body["__type"]) == (503, "ServiceUnavailable")


@run
async def test_pushes_are_refused_while_the_store_is_unusable() -> None:
    """With an unusable store every request is ServiceUnavailable, even an unsigned one."""
    front = Front(store=FailingStore(unusable=True))
    for call in (front.signed(push()), Call(method="GET")):
        assert await front.code(call) == "ServiceUnavailable"


@run
async def test_pushes_are_refused_while_the_disk_is_too_slow() -> None:
    """While a push waits too long for the disk, further pushes are refused at once."""
    front = Front()
    async with front.turns:
        front.clock.advance(6)
        assert await front.code(front.signed(push())) == "ServiceUnavailable"
    assert await front.code(front.signed(push())) == ""


@run
async def test_a_lease_that_could_not_be_stored_is_refused() -> None:
    """If a lease cannot be stored, ServiceException is returned, and a retry is decided again."""
    front = Front(store=FailingStore())
    sent = front.signed(push())
    answer = await front.answer(sent)
    assert (answer.status, answer.body["__type"]) == (500, "ServiceException")
    assert await front.code(sent) == "ServiceException"
    assert "full" not in answer.body["Message"]


@run
async def test_a_full_table_says_how_long() -> None:
    """A full table throttles until the first lease in the way has ended."""
    front = Front(store=FailingStore(error=TableFull("x has 1 live keys", 12.5)))
    answer = await front.answer(front.signed(push()))
    assert (answer.status, answer.body["__type"]) == (400, "ThrottlingException")
    assert dict(answer.headers)["x-amz-retry-after"] == "12501"


@run
async def test_an_unexpected_error_is_internal_failure() -> None:
    """An unexpected error is InternalFailure without details, and the next request is answered."""
    front = Front(store=FailingStore(error=ZeroDivisionError("secret words")))
    for _ in range(2):
        answer = await front.answer(front.signed(push()))
        assert (answer.status, answer.body["__type"]) == (500, "InternalFailure")
        assert "secret" not in answer.body["Message"]


@run
async def test_a_mark_that_cannot_be_remembered_throttles() -> None:
    """A push whose mark cannot be remembered against replay is throttled, not carried out."""
    front = Front(remembered=2)
    assert await front.code(front.signed(push())) == ""
    answer = await front.answer(front.signed(push()))
    assert answer.body["__type"] == "ThrottlingException"
    assert dict(answer.headers)["x-amz-retry-after"] == "900001"
    assert await front.code(push(), LOCAL) == ""


@run
async def test_a_full_memory_still_answers_a_replay() -> None:
    """With no room for more, a replay is answered as before, and the rest refused unread."""
    front = Front(remembered=2)
    accepted = front.signed(push())
    first = await front.answer(accepted)
    unread = replace(push(), body=b"no JSON")
    assert await front.code(front.signed(unread)) == "ThrottlingException"
    assert (await front.answer(accepted)).body == first.body
    assert len(front.live()) == 1


@run
async def test_refused_principals_take_no_room_from_others() -> None:
    """Pushes of a principal without permission are not remembered, however many they are."""
    known = [CREDENTIAL, {**CREDENTIAL, "access_key_id": "AKIANOT", "allow": {"os_users": ["x"]}}]
    front = Front(known=known, remembered=4)
    for _ in range(8):
        refused = front.signed(push(), key="AKIANOT")
        assert await front.code(refused) == "AccessDeniedException"
    assert len(front.memory) == 0
    assert await front.code(front.signed(push())) == ""


LIMITED = {
    **CREDENTIAL,
    "allow": {
        "os_users": ["ec2-user", "denied"],
        "instances": [INSTANCE_ID, "i-bbbbbbbb"],
        "sources": ["10.0.0.0/8"],
    },
}
INSIDE = replace(LOCAL, source="10.0.0.1", uid=None)
OUTSIDE = replace(INSIDE, source="11.0.0.1")


@pytest.mark.parametrize(
    ("changes", "peer", "code"),
    [
        ({}, INSIDE, ""),
        ({"InstanceId": "i-aaaaaaaa", "InstanceOSUser": "root"}, OUTSIDE, "NotAuthorized"),
        ({"InstanceId": "i-aaaaaaaa", "InstanceOSUser": "root"}, INSIDE, "AuthException"),
        ({"InstanceId": "i-bbbbbbbb", "InstanceOSUser": "root"}, INSIDE, "AccessDeniedException"),
        ({"InstanceId": "i-bbbbbbbb", "InstanceOSUser": "denied"}, INSIDE, "AccessDeniedException"),
        ({"InstanceId": "i-bbbbbbbb"}, INSIDE, "EC2InstanceNotFoundException"),
        ({"AvailabilityZone": "us-east-2c"}, INSIDE, "EC2InstanceNotFoundException"),
        ({"InstanceOSUser": "denied"}, LOCAL, "AccessDeniedException"),
    ],
)
def test_authorization_comes_before_existence(changes: Any, peer: Any, code: str) -> None:
    """Source, instance, OS user and deny_users are checked in that order, then existence."""

    async def test() -> None:
        front = Front(Config(keys=Keys(deny_users=("denied",))), known=[LIMITED])
        assert await front.code(front.signed(push(**changes)), peer) == code

    asyncio.run(test())


@run
async def test_requests_signed_before_a_loss_are_not_taken() -> None:
    """Requests signed before the journal was lost are refused with RequestExpired."""
    front = Front()
    before = front.signed(push())
    front.clock.advance(1)
    front.memory.resume(Horizon(lost_at=front.clock.boottime()))
    assert await front.code(before) == "RequestExpired"
    assert not front.live()
    front.clock.advance(1)
    assert await front.code(front.signed(push())) == ""
