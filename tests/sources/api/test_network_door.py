"""agent/sources/api: both doors, from one request to one response."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from agent.audit.record import Record
from agent.config.settings import Config, Keys, Push, Rate
from agent.leases.lease import AcceptedMark
from agent.sources.api.local_door import Answer
from tests.parts.daemon import CREDENTIAL, INSTANCE_ID
from tests.parts.signed import CONTENT_TYPE, Call, Signer, members, presign, push
from tests.sources.api.front import LOCAL, FailingStore, Front, pushing, run


@run
async def test_a_push_becomes_a_lease() -> None:
    """A push becomes a lease with the configured lifetime and the response's request id."""
    front = Front(Config(keys=Keys(lifetime=30)))
    call = push()
    answer = await front.answer(front.signed(call.plus("User-Agent", "x/1")))
    assert answer.status == 200
    request_id = dict(answer.headers)["x-amzn-RequestId"]
    assert answer.body == {"RequestId": request_id, "Success": True}
    (lease,) = front.live()
    assert (lease.request_id, lease.principal) == (request_id, CREDENTIAL["access_key_id"])
    assert (lease.pushed_at, lease.expires_at) == (1000.0, 1030.0)
    key = json.loads(call.body)["SSHPublicKey"].split(" ")
    assert lease.line == f"{key[0]} {key[1]} {request_id}\n"
    (record,) = front.records()
    assert len(record.pop("run")) == 8
    assert record == {
        "seq": 1, "time": "2027-01-15T08:00:00.000Z", "event": "push", "outcome": "allowed",
        "request_id": request_id, "principal": CREDENTIAL["access_key_id"],
        "source": "127.0.0.1", "user_agent": "x/1", "instance": INSTANCE_ID,
        "os_user": "ec2-user", "key_type": "ssh-ed25519", "fingerprint": lease.key.fingerprint,
        "public_key": key[1],
    }  # fmt: skip


@run
async def test_a_refusal_is_audited() -> None:
    """A refusal is audited with the claimed principal, the request id and the reason."""
    front = Front()
    answer = await front.answer(front.signed(push(), secret="wrong"))
    (record,) = front.records()
    assert (record["outcome"], record["claimed_principal"]) == ("AuthException", Signer().key)
    assert "principal" not in record
    assert record["request_id"] == dict(answer.headers)["x-amzn-RequestId"]
    assert record["reason"] == answer.body["Message"]
    assert front.live() == ()


@run
async def test_a_local_user_pushes_with_plain_json() -> None:
    """A local push needs no signature, target or content type, and the audit names the uid."""
    front = Front()
    call = push().without("X-Amz-Target").having("Content-Type", "text/plain")
    assert await front.code(call, LOCAL) == ""
    assert len(front.live()) == 1
    assert (front.records()[0]["principal"], front.records()[0]["source"]) == ("uid:1000", "unix")


@pytest.mark.parametrize("how", ["header", "query"])
def test_a_replay_is_answered_as_before_and_extends_nothing(how: str) -> None:
    """A replay gets the first answer again, and neither adds nor extends a lease."""

    async def test() -> None:
        front = Front()
        call = push()
        sent = (
            presign(call, Signer(at=front.clock.wall())) if how == "query" else front.signed(call)
        )
        first, before = await front.answer(sent), front.live()
        front.clock.advance(30)
        again = await front.answer(sent.plus("User-Agent", "another"))
        assert (again, front.live()) == (first, before)
        assert front.records()[1]["replay"] is True
        for name in ("outcome", "request_id"):
            assert front.records()[1][name] == front.records()[0][name]

    asyncio.run(test())


@run
async def test_a_captured_request_lets_nobody_in_a_minute_later() -> None:
    """A replay after the lease ended grants no access, even if the wall clock was set back."""
    front = Front()
    sent = front.signed(push())
    first = await front.answer(sent)
    for _ in range(14):
        front.clock.advance(61)
        assert await front.answer(sent) == first
        assert front.live() == ()
    front.clock.advance(61)
    assert await front.code(sent) == "RequestExpired"
    # Another push removes the first mark from memory, but dates up to its own stay refused.
    assert await front.code(front.signed(push())) == ""
    front.clock.set_wall(front.clock.wall() - 900)
    assert await front.code(sent) == "RequestExpired"
    assert len(front.live()) == 1


@run
async def test_a_captured_request_lets_nobody_in_after_a_restart() -> None:
    """A new process with the restored marks gives a replay the old answer."""
    front, after = Front(), Front()
    sent = front.signed(push())
    first = await front.answer(sent)
    (lease,) = front.live()
    assert lease.mark is not None
    after.memory.restore([AcceptedMark(lease.mark, lease.request_id, lease.principal)])
    assert await after.answer(sent) == first
    assert after.live() == ()


@run
async def test_the_same_request_twice_at_once_is_carried_out_once() -> None:
    """The same request on several connections at once is carried out once."""
    front = Front()
    sent = front.signed(push())
    answers = await asyncio.gather(*(front.answer(sent) for _ in range(5)))
    assert [answer == answers[0] for answer in answers] == [True] * 5
    assert len(front.live()) == 1


@run
async def test_a_retry_with_the_same_signature_is_no_replay() -> None:
    """A throttled request may be retried with the same signature, and is carried out once."""
    front = Front(pushing(rate=Rate(per_credential=1)))
    assert await front.code(front.signed(push())) == ""
    sent = front.signed(push())
    assert await front.code(sent) == "ThrottlingException"
    front.clock.advance(1)
    assert await front.code(sent) == ""
    assert len(front.live()) == 2


@run
async def test_the_same_key_pushed_anew_lives_anew() -> None:
    """The same key pushed with a later signature replaces the lease with a new one."""
    front, call = Front(), push()
    await front.answer(front.signed(call))
    front.clock.advance(30)
    await front.answer(front.signed(call))
    (lease,) = front.live()
    assert lease.expires_at == 1090.0


@run
async def test_current_needs_no_zone() -> None:
    """With `push.reference: current` the zone is optional and OS users may begin with digits."""
    document = members(InstanceOSUser="1user")
    del document["AvailabilityZone"]
    call = Call(body=json.dumps(document).encode())
    front, published = Front(Config(push=Push(reference="current"))), Front()
    assert await front.code(front.signed(call)) == ""
    assert await published.code(published.signed(call)) == "MissingParameter"


@run
async def test_a_refused_request_sent_again_is_decided_anew() -> None:
    """A refused request is not remembered, and is decided again when it is sent again."""
    front = Front()
    sent = front.signed(push(InstanceOSUser="no/user"))
    codes = [await front.code(sent) for _ in range(3)]
    assert codes == ["InvalidArgsException"] * 3
    assert len(front.memory) == 0
    assert [record.get("replay") for record in front.records()] == [None] * 3


@run
async def test_failed_authentications_are_refused_unverified() -> None:
    """The eleventh attempt in a second is throttled, whether its signature is right or not."""
    front = Front()
    wrong, right = front.signed(push(), secret="wrong"), front.signed(push())
    codes = [await front.code(wrong) for _ in range(12)]
    assert codes == ["AuthException"] * 10 + ["ThrottlingException"] * 2
    assert await front.code(right) == "ThrottlingException"
    front.clock.advance(1)
    assert await front.code(right) == ""


@run
async def test_an_operators_action_gets_peer_and_body() -> None:
    """An operator's action on the push socket gets peer and body, and is audited by its name."""

    async def shout(peer: Any, body: bytes, _: Record) -> Answer:
        return Answer({"heard": body.decode(), "uid": peer.uid}, quiet=body == b"quiet")

    front = Front(store=FailingStore(unusable=True), actions={"Sixtykey.Shout": shout})
    call = Call(headers=(("X-Amz-Target", "Sixtykey.Shout"), ("Content-Type", CONTENT_TYPE)))
    answer = await front.answer(replace(call, body=b"hello"), LOCAL)
    assert (answer.status, answer.body) == (200, {"heard": "hello", "uid": 1000})
    assert await front.code(replace(call, body=b"quiet"), LOCAL) == ""
    assert [record["event"] for record in front.records()] == ["shout"]
    assert front.audit.counts["shout", "allowed"] == 2
    unknown = call.having("X-Amz-Target", "Sixtykey.Whisper")
    assert await front.code(unknown, LOCAL) == "InvalidAction"
    assert await Front().code(front.signed(call)) == "InvalidAction"


@run
async def test_an_operators_action_is_named_by_its_target() -> None:
    """An operator's action cannot be named by `Action=` in the query string."""
    call = Call(target="/?Action=Sixtykey.List", headers=())
    assert await Front().code(call, LOCAL) == "InvalidAction"


@run
async def test_a_scrape_is_answered_with_the_text_alone() -> None:
    """`GET /metrics` on the push socket is answered with Prometheus text, not with JSON."""

    async def metrics(_: Any, body: bytes, __: Record) -> Answer:
        return Answer({"Metrics": f"up {len(body)}\n"})

    front = Front(actions={"Sixtykey.Metrics": metrics})
    answer = await front.answer(Call(method="GET", target="/metrics", headers=(), body=b""), LOCAL)
    assert (answer.status, answer.content) == (200, b"up 0\n")
    assert [record["event"] for record in front.records()] == ["metrics"]
