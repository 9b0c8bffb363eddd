"""One-time keys and the user's side: each connection makes its own push."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

import pytest

from tests.parts.daemon import RunningDaemon
from tests.parts.host import IS_ROOT, login_user, tool, work_directory
from tests.parts.pam import pam_namespace, sshd_with_pam
from tests.parts.world import Stage, World, a_fleet, good, names_host, one_time_config, somebody

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="PAM's account phase needs sshd to be root")


@contextlib.contextmanager
def single() -> Iterator[Stage]:
    """A single host whose keys are good for one login."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(work_directory())
        login = stack.enter_context(login_user())
        config = one_time_config(folder)
        prefix = stack.enter_context(pam_namespace(folder))
        daemon = stack.enter_context(RunningDaemon(folder, config=config, prefix=prefix))
        sshd = stack.enter_context(sshd_with_pam(folder, prefix))
        yield Stage(daemon, sshd, login, names_host(daemon))


@contextlib.contextmanager
def fleet() -> Iterator[Stage]:
    """A host of a fleet with such keys; the gateway tells the client that they are."""
    with a_fleet(one_time=True) as stage:
        stage.settings["hosts"] = {"web-*": {}}
        yield stage


@pytest.fixture(params=[single, fleet], ids=["one host", "a fleet"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A host whose keys are good for one login, and a user without a key."""
    with request.param() as stage, somebody(stage) as made:
        yield made


def test_twenty_connections_at_once_with_keys_for_one_login_each(world: World) -> None:
    """Twenty connections at once push twenty times, and each is admitted once."""
    good(world.user.sixtykey("login"))
    command = [tool("ssh", "openssh-client"), "-F", str(world.user.config), world.place, "id -un"]
    started = [
        subprocess.Popen(command, env=world.user.environment, stdout=subprocess.PIPE, text=True)
        for _ in range(20)
    ]
    assert [each.communicate(timeout=110)[0] for each in started] == [f"{world.login}\n"] * 20
    assert world.pushes() == 20
    assert len(world.daemon.audit(event="admission", outcome="admitted")) == 20
    # All twenty are used up: the key in the agent is refused without another push.
    plain = world.user.do(
        tool("ssh", "openssh-client"), "-F", "none", "-p", str(world.sshd.port), "-o",
        f"UserKnownHostsFile={world.sshd.known_hosts}", "-o", "BatchMode=yes",
        f"{world.login}@127.0.0.1", "true",
    )  # fmt: skip
    assert plain.code == 255
    assert "Permission denied" in plain.err


def test_a_master_takes_one_push_for_all_its_sessions(world: World) -> None:
    """Sessions over one ControlMaster connection use one push."""
    control = ("-o", f"ControlPath={world.folder}/control", "-o", "ControlPersist=yes")
    good(world.user.ssh("-M", "-N", "-f", *control, world.place))
    try:
        for _ in range(2):
            assert good(world.user.ssh(*control, world.place, "id -un")).out == f"{world.login}\n"
        assert world.pushes() == 1
    finally:
        good(world.user.ssh("-O", "exit", *control, world.place))
