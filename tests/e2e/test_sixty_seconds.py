"""A key lives for the real sixty seconds; a separate file, to run in parallel with others."""

from __future__ import annotations

import time

import pytest

from tests.e2e.screen import boottime
from tests.parts.daemon import RunningDaemon
from tests.parts.helper import ask_helper
from tests.parts.host import login_user, work_directory
from tests.parts.keys import make_key
from tests.parts.pushers import Target, push_with_boto3
from tests.parts.ssh import CLIENTS
from tests.parts.sshd import RunningSshd


@pytest.mark.timeout(240)
def test_a_key_lives_for_sixty_seconds_and_no_longer() -> None:
    """A pushed key logs in at once and after 45 seconds, and is refused after 60 seconds."""
    with work_directory() as directory, login_user() as user, RunningDaemon(directory) as daemon:
        key = make_key(directory)
        with RunningSshd(directory, daemon.lookup_socket) as sshd:
            before = boottime()
            assert push_with_boto3(Target.of(daemon), user, key.line).ok
            after = boottime()
            for client in CLIENTS:
                assert sshd.login(user, key, client).accepted, sshd.log()
            # Still within the key's lifetime, however long the push took.
            time.sleep(max(0.0, before + 45 - boottime()))
            assert sshd.login(user, key).accepted, sshd.log()
            time.sleep(max(0.0, after + 60 - boottime()))
            assert ask_helper(daemon.lookup_socket, user) == []
            for client in CLIENTS:
                assert sshd.login(user, key, client).refused, sshd.log()
            assert daemon.await_audit(event="lookup", outcome="none", os_user=user)
