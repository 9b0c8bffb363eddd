"""Captured requests sent again, over real sockets: a replay grants no access."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.parts.daemon import PATIENCE, RunningDaemon
from tests.parts.helper import ask_helper
from tests.parts.waiting import wait_until
from tests.sources.api.plan import Plan, valid_push
from tests.sources.api.test_table import daemon_with, send


@pytest.fixture
def daemon() -> Iterator[RunningDaemon]:
    """A daemon whose keys live for two seconds."""
    yield from daemon_with(keys={"lifetime": 2})


def lines(daemon: RunningDaemon) -> list[str]:
    """The lines that sshd gets."""
    return ask_helper(daemon.lookup_socket, "ec2-user")


def await_end(daemon: RunningDaemon) -> None:
    """Wait until sshd gets no line."""
    wait_until(lambda: not lines(daemon), lambda: lines(daemon), pause=0.1)


@pytest.mark.parametrize("how", ["header", "query"])
def test_a_replay_extends_nothing(daemon: RunningDaemon, how: str) -> None:
    """A replay gets the first request id, and its lease neither lasts longer nor comes back.

    This also holds after the daemon was stopped or killed, and started again.
    """
    data = Plan(how=how).call().raw()
    first = send(daemon, data)
    assert first.code == ""
    (line,) = lines(daemon)
    assert line.endswith(first.request_id)
    ended = False
    for end in (None, daemon.stop, daemon.kill):
        if end is not None:
            end()
            daemon.start()
        again = send(daemon, data)
        assert (again.code, again.request_id) == ("", first.request_id)
        if not ended:
            # Replays sent until the lease ends do not extend it.
            deadline = time.monotonic() + PATIENCE
            while lines(daemon):
                assert send(daemon, data).request_id == first.request_id
                assert time.monotonic() < deadline
            ended = True
        assert send(daemon, data).request_id == first.request_id
        assert lines(daemon) == []
    assert daemon.audit(event="push", outcome="allowed", replay=True)


def test_a_replay_adds_no_second_line(daemon: RunningDaemon) -> None:
    """A replay during the lease does not add a second line."""
    data = valid_push()
    first = send(daemon, data)
    assert send(daemon, data).request_id == first.request_id
    assert len(lines(daemon)) == 1


def test_a_refused_request_sent_again_is_refused_anew(daemon: RunningDaemon) -> None:
    """A refused request that is sent again is decided and refused again."""
    data = valid_push(InstanceOSUser="no/user")
    first, again = send(daemon, data), send(daemon, data)
    assert first.code == again.code == "InvalidArgsException"
    assert first.request_id != again.request_id
    assert lines(daemon) == []


def test_another_signature_is_another_request(daemon: RunningDaemon) -> None:
    """The same key in a push with another signature gets a new lease and a new request id."""
    plan = Plan()
    first = send(daemon, plan.call().raw())
    plan.age = -1
    second = send(daemon, plan.call().raw())
    assert (first.code, second.code) == ("", "")
    assert first.request_id != second.request_id
    (line,) = lines(daemon)
    assert line.endswith(second.request_id)
    await_end(daemon)
    assert send(daemon, plan.call().raw()).code == ""
