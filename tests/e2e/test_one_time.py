"""One-time keys with a real sshd and PAM: one push admits one login, even in crashes and races."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Callable

import pytest

from tests.parts.command import run
from tests.parts.daemon import RunningDaemon
from tests.parts.host import IS_ROOT, work_directory
from tests.parts.one_time import RACERS, Stage, staged

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="PAM's account phase needs sshd to be root")
# `make once` runs a hundred rounds, with SIXTYKEY_ROUNDS=100.
ROUNDS = int(os.environ.get("SIXTYKEY_ROUNDS", "8"))


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A new stage, removed after the test."""
    with staged() as made:
        yield made


def test_one_push_admits_one_login(stage: Stage) -> None:
    """A one-time key admits one login, and the audit explains why the second is refused."""
    request_id = stage.push_by_aws()
    assert stage.log_in().accepted, stage.sshd.log()
    admitted = stage.daemon.await_audit(event="admission", outcome="admitted")
    assert (admitted["request_id"], admitted["source"]) == (request_id, "127.0.0.1")
    assert admitted["os_user"] == stage.user
    assert not stage.log_in().accepted
    refused = stage.daemon.await_audit(event="lookup", outcome="none")
    assert "used once already" in refused["reason"]
    assert "by the login from 127.0.0.1" in refused["reason"]


def test_the_same_key_pushed_twice_admits_two(stage: Stage) -> None:
    """A key that is pushed twice admits two logins."""
    for _ in range(2):
        stage.push_by_aws()
    assert [stage.log_in().accepted for _ in range(3)] == [True, True, False]


@pytest.mark.timeout(120 + 10 * ROUNDS)
def test_crashes_admit_nobody_twice(stage: Stage) -> None:
    """Of eight racing logins exactly one is admitted, and at most one if the daemon is killed.

    After a kill there may be none: the login that was handed the key may have had no answer.
    """
    chance = random.Random(1)
    found: dict[str, Counter[int]] = {"without a kill": Counter(), "with kills": Counter()}
    for _ in range(ROUNDS):
        stage.push()
        kills = chance.choice([0, 0, 1, 2])
        with ThreadPoolExecutor(1) as pool:
            race = pool.submit(stage.race)
            for _ in range(kills):
                time.sleep(chance.uniform(0.0, 0.5))
                stage.daemon.kill()
                stage.daemon.start()
            admitted = race.result()
        # A login now finds the key used, or uses it if the kills refused all others.
        late = stage.log_in().accepted
        found["with kills" if kills else "without a kill"][admitted + late] += 1
        assert admitted + late <= 1, stage.daemon.log()
        assert kills or (admitted, late) == (1, False), stage.sshd.log()
        assert not stage.log_in().accepted
    for kind, counts in found.items():
        told = ", ".join(f"{many} admitted: {rounds}" for many, rounds in sorted(counts.items()))
        print(f"{sum(counts.values())} rounds of {RACERS} racing logins {kind}: {told}")


def kill_and_start(daemon: RunningDaemon) -> None:
    """Kill the daemon and start it again."""
    daemon.kill()
    daemon.start()


def lose_the_journal(daemon: RunningDaemon) -> None:
    """Kill the daemon, delete its journal, and start it again."""
    daemon.kill()
    for file in (daemon.directory / "journal").iterdir():
        file.unlink()
    daemon.start()


def stand_still(daemon: RunningDaemon) -> None:
    """Stop the daemon with SIGSTOP."""
    os.kill(daemon.pid, signal.SIGSTOP)


@pytest.mark.parametrize(
    ("what", "held", "after"),
    [
        (kill_and_start, True, False),
        (RunningDaemon.kill, False, True),
        (stand_still, False, True),
        (lose_the_journal, False, False),
    ],
)
def test_a_daemon_that_goes_between_hand_out_and_question(
    stage: Stage, what: Callable[[RunningDaemon], object], held: bool, after: bool
) -> None:
    """No login is admitted without the daemon's yes, and a restarted daemon knows its hand-outs.

    `held`: whether the login that had been handed the key was admitted; `after`: whether another
    one is admitted afterwards.
    """
    stage.push()
    with stage.held_between():
        what(stage.daemon)
    assert stage.held().accepted == held, stage.sshd.log()
    if what is stand_still:
        os.kill(stage.daemon.pid, signal.SIGCONT)
    elif what is RunningDaemon.kill:
        stage.daemon.start()
    assert stage.log_in().accepted == after, stage.sshd.log()
    assert not stage.log_in().accepted


def test_a_restart_forgets_no_use(stage: Stage) -> None:
    """A used key stays used after a restart or a kill, and `why` explains the refusal."""
    stage.push()
    assert stage.log_in().accepted, stage.sshd.log()
    stage.daemon.stop()
    stage.daemon.start()
    assert not stage.log_in().accepted
    kill_and_start(stage.daemon)
    assert not stage.log_in().accepted
    told = run("why", stage.user, "--socket", stage.daemon.push_socket).out
    assert "that key was used once already," in told
    assert "s ago, by the login from 127.0.0.1 (request " in told
    assert "a one-time key is good for one login: push it again for another" in told


def test_why_shows_both_logins(stage: Stage) -> None:
    """`why` shows the live one-time key, and then the admitted and the refused login."""
    request_id = stage.push()
    before = run("why", stage.user, "--socket", stage.daemon.push_socket).out
    assert "s left, only for: 1 login" in before
    with stage.held_between():
        assert stage.log_in().accepted, stage.sshd.log()
    assert not stage.held().accepted
    told = run("why", stage.user, "--socket", stage.daemon.push_socket).out
    admitted = stage.daemon.audit(event="admission", outcome="admitted")[0]
    login = f"the login with {stage.key.fingerprint()} from 127.0.0.1"
    process = f"sshd's process {admitted['process']}"
    assert (
        f"{login}: admitted, the one-time key is used up (request {request_id}, {process})" in told
    )
    assert f"{login}: refused, the one-time key was used once already" in told


def test_the_loser_of_a_race_is_refused(stage: Stage) -> None:
    """If two logins are handed the key, the second to ask is refused, and the audit says why."""
    stage.push()
    with stage.held_between():
        assert stage.log_in().accepted, stage.sshd.log()
    assert not stage.held().accepted
    refused = stage.daemon.await_audit(event="admission", outcome="refused")
    assert "used once already" in refused["reason"]
    assert "by the login from 127.0.0.1" in refused["reason"]


def test_a_host_that_cannot_ask_pam_refuses_one_time_keys() -> None:
    """With `uses: once` and without PAM's line, the daemon does not start."""
    refused = pytest.raises(RuntimeError, match="one-time keys cannot be enforced on this host")
    with work_directory() as directory, refused:
        RunningDaemon(directory, config={"keys": {"uses": "once"}}).start()


def test_sshd_says_nothing_unusual(stage: Stage) -> None:
    """sshd logs no error for admitted and refused logins, except PAM's refusal."""
    stage.push()
    with stage.held_between():
        assert stage.log_in().accepted, stage.sshd.log()
    assert not stage.held().accepted
    assert not stage.log_in().accepted
    unusual = [
        line
        for line in stage.sshd.log().splitlines()
        if any(word in line for word in ("error:", "AuthorizedKeysCommand", "fatal:"))
        and f"fatal: Access denied for user {stage.user} by PAM account configuration" not in line
    ]
    assert unusual == []
