"""Ansible with its ssh plugin reaches hosts by pushed keys, without changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.host import tool
from tests.parts.world import STAGES, Stage, World, good, somebody


@pytest.fixture(scope="module", params=STAGES)
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A single host, and a host of a fleet."""
    with STAGES[request.param]() as made:
        yield made


@pytest.fixture
def world(stage: Stage) -> Iterator[World]:
    """A new user without a key."""
    with somebody(stage) as made:
        yield made


def test_ansible_pings(world: World) -> None:
    """`ansible -m ping` copies its module to the host and runs it there."""
    home, there = world.user.home, world.share("there")
    (home / "inventory").write_text(
        f"web-1 ansible_user={world.login} ansible_remote_tmp={there} "
        "ansible_python_interpreter=/usr/bin/python3\n"
    )
    world.user.environment.update(
        ANSIBLE_HOME=str(home / "ansible"),
        ANSIBLE_SSH_ARGS=f"-F {world.user.config}",
        ANSIBLE_SSH_CONTROL_PATH_DIR=str(Path(world.folder) / "cp"),
        ANSIBLE_FORCE_COLOR="0",
    )
    ansible = tool("ansible", "ansible-core (PyPI)")
    done = world.user.do(ansible, "-i", "inventory", "-c", "ssh", "all", "-m", "ping")
    assert '"ping": "pong"' in good(done).out
    assert world.pushes() >= 1
