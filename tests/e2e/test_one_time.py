"""One-time keys, with a real sshd and PAM: one push admits one login, whatever happens."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.parts.daemon import RunningDaemon
from tests.parts.host import IS_ROOT, login_user, tool, work_directory
from tests.parts.keys import KeyPair, make_key
from tests.parts.pam import pam_namespace, sshd_with_pam
from tests.parts.pushers import Target, push_with_boto3
from tests.parts.ssh import Login, login_with_ssh
from tests.parts.sshd import RunningSshd

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="PAM's account phase needs sshd to be root")
RACERS = 8
# The promise is a hundred rounds: SIXTYKEY_ROUNDS=100, as make once does.
ROUNDS = int(os.environ.get("SIXTYKEY_ROUNDS", "8"))


@dataclass
class Stage:
    """A daemon whose keys are good for one login, sshd with PAM, a user, and a key."""

    daemon: RunningDaemon
    sshd: RunningSshd
    user: str
    key: KeyPair

    def push(self) -> str:
        """Push the key; the request id. Never twice in a second: that would be the same request.

        SigV4 dates are whole seconds, so the same push has the same signature within one.
        """
        time.sleep(1.0 - time.time() % 1.0)
        pushed = push_with_boto3(Target.of(self.daemon), self.user, self.key.line)
        assert pushed.ok, pushed
        return pushed.request_id

    def log_in(self) -> Login:
        """Try once."""
        return login_with_ssh(self.sshd.port, self.user, self.key, self.sshd.known_hosts)

    def race(self) -> int:
        """How many of RACERS logins at the same time are admitted."""
        with ThreadPoolExecutor(RACERS) as pool:
            logins = list(pool.map(lambda _: self.log_in(), range(RACERS)))
        return sum(login.accepted for login in logins)


@pytest.fixture
def stage() -> Iterator[Stage]:
    """All of it, and gone again afterwards."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(work_directory())
        user = stack.enter_context(login_user())
        config: dict[str, Any] = {
            "keys": {"uses": "once"},
            "journal": str(directory / "journal" / "leases.db"),
        }
        (directory / "journal").mkdir(mode=0o700)
        prefix = stack.enter_context(pam_namespace(directory))
        daemon = stack.enter_context(RunningDaemon(directory, config=config, prefix=prefix))
        sshd = stack.enter_context(sshd_with_pam(directory, prefix))
        yield Stage(daemon, sshd, user, make_key(directory))


def test_one_push_admits_one_login(stage: Stage) -> None:
    """The second is refused, and the audit names push, process and reason for both."""
    request_id = stage.push()
    assert stage.log_in().accepted, stage.sshd.log()
    admitted = stage.daemon.await_audit(event="admission", outcome="admitted")
    assert (admitted["request_id"], admitted["source"]) == (request_id, "127.0.0.1")
    assert admitted["os_user"] == stage.user
    assert not stage.log_in().accepted
    refused = stage.daemon.await_audit(event="lookup", outcome="none")
    assert "used once already" in refused["reason"]
    assert "by the login from 127.0.0.1" in refused["reason"]


def test_the_same_key_pushed_twice_admits_two(stage: Stage) -> None:
    """Each push is good for a login of its own."""
    for _ in range(2):
        stage.push()
    assert [stage.log_in().accepted for _ in range(3)] == [True, True, False]


def test_a_race_has_one_winner(stage: Stage) -> None:
    """Of eight logins at the same time exactly one gets in, every time."""
    admitted = []
    for _ in range(4):
        stage.push()
        admitted.append(stage.race())
    assert admitted == [1] * 4


@pytest.mark.timeout(60 + 10 * ROUNDS)
def test_crashes_admit_nobody_twice(stage: Stage) -> None:
    """Killed at random while eight race: never two for a push, and none only after a kill."""
    chance = random.Random(1)
    for _ in range(ROUNDS):
        stage.push()
        with ThreadPoolExecutor(1) as pool:
            race = pool.submit(stage.race)
            time.sleep(chance.uniform(0.0, 0.5))
            stage.daemon.kill()
            stage.daemon.start()
            admitted = race.result()
        # Whoever came too early was refused; whoever comes now finds it used, or uses it.
        assert admitted + stage.log_in().accepted <= 1
        assert not stage.log_in().accepted


def test_an_ordinary_login_asks_nobody(stage: Stage) -> None:
    """A key in the user's own file passes PAM's account phase, also while the daemon is away."""
    stage.daemon.kill()
    (stage.daemon.directory / "authorized_keys").write_text(stage.key.line + "\n")
    assert stage.log_in().accepted, stage.sshd.log()
    stage.daemon.start()


def test_sessions_over_one_connection_are_one_login(stage: Stage, tmp_path: Path) -> None:
    """ControlMaster: the second session needs no second push, and a second connection does."""
    stage.push()
    control = tmp_path / "control"
    base = [
        tool("ssh", "openssh-client"), "-F", "none", "-p", str(stage.sshd.port),
        "-i", str(stage.key.private), "-oBatchMode=yes", "-oIdentityAgent=none",
        "-oStrictHostKeyChecking=yes", f"-oUserKnownHostsFile={stage.sshd.known_hosts}",
        f"-oControlPath={control}", "-l", stage.user, "127.0.0.1",
    ]  # fmt: skip
    master = subprocess.Popen([*base[:1], "-M", "-N", *base[1:]], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not control.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        for _ in range(2):
            done = subprocess.run(
                [*base, "id -un"], capture_output=True, text=True, timeout=20, check=False
            )
            assert done.stdout.strip() == stage.user, done.stderr
    finally:
        master.terminate()
        master.wait()
    assert not stage.log_in().accepted


def test_a_host_that_cannot_ask_pam_refuses_one_time_keys() -> None:
    """Without the line in PAM's stack a key could be used twice: the daemon does not start."""
    refused = pytest.raises(RuntimeError, match="cannot be used once only on this host")
    with work_directory() as directory, refused:
        RunningDaemon(directory, config={"keys": {"uses": "once"}}).start()
