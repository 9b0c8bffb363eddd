"""The reference's table of errors over real sockets: every row, and the order of the rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Optional

import pytest

from tests.parts.daemon import RunningDaemon, merged
from tests.parts.helper import ask_helper
from tests.parts.host import work_directory
from tests.parts.raw import Answer, ask
from tests.parts.signed import push, sign_by_hand
from tests.sources.api.plan import (
    CREDENTIALS,
    SPOILERS,
    Plan,
    Spoiler,
    fresh_source,
    like,
    wrong_push,
)

UNBOUND = {"per_credential": 100_000, "total": 100_000}
STATUS = {
    "InvalidClientTokenId": 403, "MissingAuthenticationToken": 403, "OptInRequired": 403,
    "MalformedQueryString": 404, "ServiceUnavailable": 503,
}  # fmt: skip


def send(daemon: RunningDaemon, data: bytes) -> Answer:
    """Send a request from an address that has not been used before."""
    return ask(("127.0.0.1", daemon.http_port), data, source=fresh_source())


def expect(answer: Answer, code: str) -> None:
    """Check that the error is this one, with the reference's status."""
    assert (answer.code, answer.status) == (code, STATUS.get(code, 400)), answer.body


def daemon_with(
    environment: Optional[Mapping[str, str]] = None, **changes: Any
) -> Iterator[RunningDaemon]:
    """A daemon with the plan's credentials that denies one OS user to everybody."""
    with work_directory() as directory:
        config: dict[str, Any] = {
            "keys": {"deny_users": ["denied"], "per_user": 340},
            "push": {"rate": UNBOUND},
        }
        for section, values in changes.items():
            config = merged(config, {section: values})
        with RunningDaemon(
            directory, config=config, credentials=CREDENTIALS, environment=environment
        ) as daemon:
            yield daemon


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    """A daemon whose rate limits are too high to be reached."""
    yield from daemon_with()


def test_a_valid_push_is_taken(daemon: RunningDaemon) -> None:
    """The unspoiled plan is accepted, signed in the header or presigned."""
    for plan in (Plan(), Plan(how="query"), Plan(query=["Version=2018-04-02"])):
        answer = send(daemon, plan.call().raw())
        assert (answer.code, answer.status) == ("", 200)
        line = ask_helper(daemon.lookup_socket, "ec2-user")[-1]
        assert line.split()[2] == answer.request_id


def test_a_signer_that_leaves_content_type_unsigned_is_served(daemon: RunningDaemon) -> None:
    """Content-Type may be unsigned, as with AWS, while X-Amz-Target must be signed."""
    assert send(daemon, sign_by_hand(push()).raw()).code == ""
    unsigned = sign_by_hand(push(), signed=("content-type", "host", "x-amz-date"))
    expect(send(daemon, unsigned.raw()), "IncompleteSignature")


@pytest.mark.parametrize("spoiler", SPOILERS, ids=str)
def test_each_mistake_has_its_own_error(daemon: RunningDaemon, spoiler: Spoiler) -> None:
    """Each mistake gets exactly its error, is audited with it, and lets nobody in."""
    before = ask_helper(daemon.lookup_socket, "ec2-user")
    answer = send(daemon, wrong_push(spoiler, key=like(SPOILERS.index(spoiler))))
    expect(answer, spoiler.code)
    record = daemon.await_audit(event="push", request_id=answer.request_id)
    assert (record["outcome"], record["reason"]) == (spoiler.code, answer.body["Message"])
    # Leases that were there before may have expired meanwhile.
    assert set(ask_helper(daemon.lookup_socket, "ec2-user")) <= set(before)


@pytest.mark.parametrize("spoiler", SPOILERS, ids=str)
def test_the_earlier_row_answers(daemon: RunningDaemon, spoiler: Spoiler) -> None:
    """A request with a second mistake, of a later row, gets the error of the earlier row."""
    wrong = []
    for other in SPOILERS:
        if other.row <= spoiler.row or other.touches & spoiler.touches:
            continue
        answer = send(daemon, wrong_push(other, spoiler))
        if answer.code != spoiler.code:
            wrong.append((str(other), answer.body))
    assert wrong == []


def test_every_row_that_a_request_can_reach_is_here() -> None:
    """The spoilers cover rows 2 to 13 and 15 to 21; the others depend on the daemon's state."""
    assert {spoiler.row for spoiler in SPOILERS} == {*range(2, 14), *range(15, 22)}


def test_authorization_is_checked_in_order(daemon: RunningDaemon) -> None:
    """Rows 18 to 21 are checked in order: source, instance, OS user, existence."""
    for key, instance, user, code in (
        ("AKIAELSEWHERE", "i-bbbbbbbb", "root", "NotAuthorized"),
        ("AKIALIMITED", "i-cccccccc", "root", "AuthException"),
        ("AKIALIMITED", daemon.instance_id, "root", "AccessDeniedException"),
        (CREDENTIALS[0]["access_key_id"], "i-bbbbbbbb", "denied", "AccessDeniedException"),
        (CREDENTIALS[0]["access_key_id"], "i-bbbbbbbb", "ec2-user", "EC2InstanceNotFoundException"),
    ):
        spoiler = Plan()
        spoiler.signer = type(spoiler.signer)(key=key)
        spoiler.members.update(InstanceId=instance, InstanceOSUser=user)
        expect(send(daemon, spoiler.call().raw()), code)


def test_a_request_wrong_in_every_way_gets_the_first_error(daemon: RunningDaemon) -> None:
    """A request with mistakes in many rows gets the error of the earliest row."""
    for number, spoiler in enumerate(SPOILERS):
        chosen, touched = [spoiler], set(spoiler.touches)
        for other in SPOILERS[number + 1 :]:
            if other.row > spoiler.row and not other.touches & touched:
                chosen.append(other)
                touched |= other.touches
        expect(send(daemon, wrong_push(*reversed(chosen))), spoiler.code)
