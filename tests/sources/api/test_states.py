"""The rows of the error table that depend on the daemon's state, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.retries.standard import ExponentialBackoff

from tests.parts.certificates import Authority
from tests.parts.daemon import PATIENCE, RunningDaemon
from tests.parts.helper import ask_helper
from tests.parts.pushers import Target, push_with_boto3
from tests.parts.raw import Raw, ask
from tests.parts.signed import Signer, fresh_key, push, sign
from tests.sources.api.front import FailingStore, Front
from tests.sources.api.plan import CREDENTIALS, SPOILERS, Plan, Spoiler, valid_push, wrong_push
from tests.sources.api.serving import Serving
from tests.sources.api.test_table import daemon_with, expect, send
from tests.sources.api.test_tls import settings

with_daemon = contextlib.contextmanager(daemon_with)
BEFORE_THROTTLING = [spoiler for spoiler in SPOILERS if spoiler.row < 14]
AFTER_THROTTLING = [spoiler for spoiler in SPOILERS if spoiler.row > 14]


@pytest.fixture(scope="module")
def broken() -> Iterator[RunningDaemon]:
    """A daemon whose journal cannot be used: its path is a directory."""
    yield from daemon_with(journal="/")


@pytest.mark.parametrize("spoiler", SPOILERS, ids=str)
def test_row_1_comes_before_all_others(broken: RunningDaemon, spoiler: Spoiler) -> None:
    """With an unusable store every request is ServiceUnavailable, whether correct or wrong."""
    expect(send(broken, wrong_push(spoiler)), "ServiceUnavailable")
    expect(send(broken, valid_push()), "ServiceUnavailable")


def test_row_1_comes_first_while_the_daemon_ends() -> None:
    """On SIGTERM an incomplete request is answered with ServiceUnavailable."""
    with with_daemon() as daemon, Raw(("127.0.0.1", daemon.http_port)) as raw:
        data = valid_push()
        raw.send(data[:-1])
        time.sleep(0.1)
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGTERM)
        expect(raw.answer(), "ServiceUnavailable")
        assert raw.ends()
        assert daemon.process.wait(PATIENCE) == 0


@pytest.fixture(scope="module")
def throttled() -> Iterator[RunningDaemon]:
    """A daemon at which every credential has used up its rate."""
    for daemon in daemon_with(push={"rate": {"per_credential": 1, "total": 100_000}}):
        for entry in CREDENTIALS:
            spend(daemon, entry)
        yield daemon


def spend(daemon: RunningDaemon, entry: dict[str, Any]) -> None:
    """Push until the credential is throttled, unless it cannot push at all."""
    signer = Signer(entry["access_key_id"], token=entry.get("session_token"))
    for _ in range(20):
        if send(daemon, sign(push(), signer).raw()).code in (
            "ThrottlingException",
            "OptInRequired",
        ):
            return
    raise AssertionError("there is no limit")


@pytest.mark.parametrize("spoiler", BEFORE_THROTTLING, ids=str)
def test_rows_before_14_are_not_throttled(throttled: RunningDaemon, spoiler: Spoiler) -> None:
    """A request that fails authentication is not throttled, and gets its usual error."""
    spend(throttled, CREDENTIALS[0])
    expect(send(throttled, wrong_push(spoiler)), spoiler.code)


@pytest.mark.parametrize("spoiler", AFTER_THROTTLING, ids=str)
def test_row_14_comes_before_the_rest(throttled: RunningDaemon, spoiler: Spoiler) -> None:
    """Above the rate, a request is throttled before its body is checked."""
    for _ in range(10):
        plan = Plan()
        spoiler.spoil(plan)
        spend(throttled, next(e for e in CREDENTIALS if e["access_key_id"] == plan.signer.key))
        answer = send(throttled, plan.call().raw())
        if answer.code == "ThrottlingException":
            assert 0 < int(answer.headers["x-amz-retry-after"]) <= 1001
            return
        # On a busy machine the rate may have recovered: sign the request anew in another second.
        time.sleep(1.1)
    raise AssertionError(answer.body)


def test_row_14_limits_all_credentials_together() -> None:
    """All credentials together have a rate too."""
    with with_daemon(push={"rate": {"per_credential": 100, "total": 1}}) as daemon:
        codes = {send(daemon, valid_push()).code}
        for _ in range(20):
            codes.add(send(daemon, Plan(signer=Signer("AKIALIMITED")).call().raw()).code)
        assert codes == {"", "ThrottlingException"}
        record = daemon.await_audit(outcome="ThrottlingException", principal="AKIALIMITED")
        assert "This host" in record["reason"]


def test_row_22_comes_after_all_others() -> None:
    """A full table throttles with a delay and evicts no lease; other errors come first."""
    with with_daemon(keys={"per_user": 1, "deny_users": ["denied"]}) as daemon:
        first = send(daemon, valid_push())
        assert first.code == ""
        full = send(daemon, valid_push())
        expect(full, "ThrottlingException")
        assert 1000 < int(full.headers["x-amz-retry-after"]) <= 60_001
        for spoiler in SPOILERS:
            expect(send(daemon, wrong_push(spoiler)), spoiler.code)
        assert send(daemon, valid_push(InstanceOSUser="another")).code == ""
        (line,) = ask_helper(daemon.lookup_socket, "ec2-user")
        assert line.endswith(first.request_id)


def test_row_22_limits_the_keys_of_all_users() -> None:
    """The number of live keys of all users together is limited too."""
    with with_daemon(keys={"total": 1}) as daemon:
        assert send(daemon, valid_push()).code == ""
        expect(send(daemon, valid_push(InstanceOSUser="another")), "ThrottlingException")


def test_row_23_is_a_full_disk() -> None:
    """If a lease cannot be made durable, ServiceException is returned and no key is served."""
    with with_daemon() as daemon:
        _, hard = resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (0, hard))
        answer = send(daemon, valid_push())
        assert (answer.code, answer.status) == ("ServiceException", 500)
        assert ask_helper(daemon.lookup_socket, "ec2-user") == []
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (hard, hard))
        answer = send(daemon, valid_push())
        assert answer.code == ""
        (line,) = ask_helper(daemon.lookup_socket, "ec2-user")
        assert line.endswith(answer.request_id)


def test_row_24_is_an_unexpected_error() -> None:
    """An unexpected error behind the API is answered with InternalFailure, without details."""

    async def make() -> Front:
        return Front(store=FailingStore(error=ZeroDivisionError("a defect")))

    front = asyncio.run(make())
    with Serving(front.network.answer) as serving:
        answer = ask(serving.address, sign(push(), Signer(at=front.clock.wall())).raw())
        assert (answer.code, answer.status) == ("InternalFailure", 500)
        assert "defect" not in json.dumps(answer.body)


def test_throttled_clients_retry_and_succeed() -> None:
    """botocore's own retries succeed after the delay that it was told."""
    # An older botocore ignores the delay, and waits a random time of at most 1 s, 2 s, 4 s, ...
    is_told = hasattr(ExponentialBackoff, "_RETRY_AFTER_HEADER")
    with with_daemon(keys={"per_user": 1, "lifetime": 4}) as daemon:
        retries = {"AWS_RETRY_MODE": "standard", "AWS_MAX_ATTEMPTS": "2" if is_told else "10"}
        patient = replace(Target.of(daemon), environment=retries)
        throttled: list[dict[str, Any]] = []
        # On a busy machine boto3 may start so slowly that the previous key has ended.
        for _ in range(5):
            send(daemon, valid_push())
            pushed = push_with_boto3(patient, "ec2-user", fresh_key())
            assert pushed.ok, pushed
            throttled = daemon.audit(outcome="ThrottlingException")
            if any("Boto3" in record["user_agent"] for record in throttled):
                return
        pytest.fail(f"boto3 was never throttled: {throttled}")


@pytest.mark.parametrize("how", ["plain", "tls"])
def test_guessing_is_refused_unverified(how: str, tmp_path: Path) -> None:
    """After ten wrong signatures for a key the source is throttled; other sources are not."""
    wrong = next(spoiler for spoiler in SPOILERS if spoiler.name == "secret")
    authority = Authority(tmp_path) if how == "tls" else None
    changes = {} if authority is None else {"push": settings(authority)}
    with with_daemon(**changes) as daemon:
        address = ("127.0.0.1", daemon.http_port)
        tls = None if authority is None else authority.trusting()
        codes = [
            ask(address, wrong_push(wrong), source="127.9.9.9", tls=tls).code for _ in range(50)
        ]
        assert codes[:10] == ["AuthException"] * 10
        # One more is allowed each second, for as long as the fifty took.
        assert codes.count("AuthException") < 40
        assert set(codes[10:]) <= {"AuthException", "ThrottlingException"}
        assert "ThrottlingException" in codes
        assert ask(address, valid_push(), tls=tls).code == ""
