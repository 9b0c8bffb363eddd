"""`jump` in client.yaml: through another host, which may match the same patterns."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest

from tests.parts.host import tool
from tests.parts.world import World, good


@pytest.fixture(name="far")
def _far(world: World) -> str:
    """Another name of the host, for a second host behind it. ssh reads the user's configuration.

    ssh -W is run without -F, and would read ~/.ssh of the password file: so a program named ssh
    adds -F here.
    """
    programs = world.user.home / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(
        f'#!/bin/sh\nexec {tool("ssh", "openssh-client")} -F {world.user.config} "$@"\n'
    )
    (programs / "ssh").chmod(0o755)
    world.user.environment["PATH"] = f"{programs}:{world.user.environment['PATH']}"
    name = "web-2" if world.stage.gateway is None else world.daemon.instance_id
    world.user.ssh_settings(world.sshd, "web-*", "i-*")
    if world.stage.gateway is not None:
        # Whether it is the host that it should be, the gateway's host keys say.
        (world.user.home / "known_hosts").write_text("")
    return name


def settings(world: World, **hosts: dict[str, str]) -> None:
    """Write a client.yaml with these hosts; a single host is named, a gateway is asked."""
    common: dict[str, Any] = {k: v for k, v in world.stage.settings.items() if k != "hosts"}
    if world.stage.gateway is None:
        common |= world.stage.settings["hosts"]["web-*"]
    # Each connection pushes, so that pushes can be counted.
    world.user.settings({**common, "uses": "once", "hosts": hosts})


def test_jump_goes_through_the_other_host(world: World, far: str) -> None:
    """With `jump` the connection goes through ssh -W to the other host, with a push for each."""
    settings(world, **{"web-1": {}, far: {"jump": world.place}})
    assert good(world.user.ssh(f"{world.login}@{far}", "id -un")).out == f"{world.login}\n"
    assert world.pushes() == 2


def test_a_jump_host_is_a_name_and_no_option(world: World, far: str) -> None:
    """A jump host that looks like an option of ssh is not read as one."""
    marker = world.user.home / "marker"
    settings(world, **{"web-1": {}, far: {"jump": f"-oProxyCommand=touch {marker}"}})
    assert world.user.ssh(f"{world.login}@{far}", "true").code == 255
    assert not marker.exists()


@pytest.mark.parametrize("form", ["{user}@{host}", "ssh://{user}@{host}"])
def test_a_jump_host_that_matches_its_own_pattern_is_near(
    world: World, far: str, form: str
) -> None:
    """A jump host for every host, itself included, is connected to directly, and there is no loop.

    Its own connection makes one push, and one through it two.
    """
    jump = form.format(user=world.login, host="web-1")
    settings(world, **{"*": {"jump": jump}})
    assert good(world.user.ssh(f"{world.login}@{far}", "id -un")).out == f"{world.login}\n"
    assert world.pushes() == 2
    good(world.user.ssh(world.place, "true"))
    assert world.pushes() == 3


def test_jump_hosts_of_each_other_make_no_loop(world: World, far: str) -> None:
    """Two hosts that are each other's jump host are each passed once at most."""
    settings(world, **{"web-1": {"jump": f"{world.login}@{far}"}, far: {"jump": world.place}})
    world.user.ssh(world.place, "true")
    assert world.pushes() <= 3


def test_settings_of_one_host_are_not_the_jump_hosts(world: World) -> None:
    """Options about the far host do not reach the jump host's proxy; those about all hosts do."""
    programs = world.user.home / "bin"
    programs.mkdir()
    (programs / "ssh").write_text("#!/bin/sh\nenv | grep ^SIXTYKEY_\n")
    (programs / "ssh").chmod(0o755)
    world.user.environment.update({
        "PATH": f"{programs}:{world.user.environment['PATH']}",
        "SIXTYKEY_INSTANCE": world.daemon.instance_id,
        "SIXTYKEY_ZONE": world.daemon.availability_zone,
        "SIXTYKEY_ADDRESS": "127.0.0.1",
        "SIXTYKEY_NETWORK": "private",
        "SIXTYKEY_JUMP": "gate",
        "SIXTYKEY_REGION": world.daemon.region,
    })  # fmt: skip
    done = good(world.user.sixtykey("proxy", world.login, "web-1", "22"))
    names = {line.partition("=")[0] for line in done.out.splitlines() if "=" in line}
    assert names == {"SIXTYKEY_REGION", "SIXTYKEY_JUMPS"}


def test_ssh_in_the_proxys_place_is_not_ended_by_its_timer(world: World) -> None:
    """The ssh -W that replaces the proxy is not ended by the proxy's half-second timer."""
    import pty

    programs = world.user.home / "bin"
    programs.mkdir()
    (programs / "ssh").write_text("#!/bin/sh\nsleep 1.2; echo through\n")
    (programs / "ssh").chmod(0o755)
    world.user.environment["PATH"] = f"{programs}:{world.user.environment['PATH']}"
    master, slave = pty.openpty()
    done = subprocess.run(
        [tool("sixtykey", "sixtykey"), "proxy", "--jump", "gate", world.login, "web-1", "22"],
        env=world.user.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=slave, check=False, timeout=60,
    )  # fmt: skip
    os.close(slave)
    os.close(master)
    assert (done.returncode, done.stdout) == (0, b"through\n")
