"""The gateway owns the registry's folder, and cannot misdirect root's commands with it."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from agent.fleet.home.home import Home
from agent.fleet.home.registry import SqliteRegistry
from tests.parts.bus import make_home
from tests.parts.command import run
from tests.parts.host import work_directory

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root's commands are meant")
NOBODY = pwd.getpwnam("nobody")


def others_registry(directory: Path) -> tuple[Home, Path]:
    """A fleet's home whose registry is in a folder of another user."""
    home, folder = make_home(directory), directory
    os.chown(folder, NOBODY.pw_uid, NOBODY.pw_gid)
    return home, folder / "hosts.db"


def test_root_follows_no_link_of_the_gateway_to_a_file_of_roots() -> None:
    """A symbolic link in place of the registry does not make root create a file elsewhere."""
    with work_directory() as directory, work_directory() as roots:
        home, path = others_registry(directory)
        path.symlink_to(roots / "made-by-root")
        done = run("fleet", "rotate", "--folder", home.folder)
        assert (done.code, "the registry is not usable" in done.err) == (1, True), done.err
        assert list(roots.iterdir()) == []
        with pytest.raises(OSError, match="symbolic link"):
            SqliteRegistry.create(str(path))
        assert list(roots.iterdir()) == []


def test_root_writes_the_registry_as_the_gateway() -> None:
    """Root opens the registry as its owner, and is root again afterwards."""
    with work_directory() as directory:
        home, path = others_registry(directory)
        path.touch()
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
        with SqliteRegistry.for_operator(home.facts.registry) as registry:
            assert (os.geteuid(), os.getegid()) == (NOBODY.pw_uid, NOBODY.pw_gid)
            assert registry.hosts() == []
        assert (os.geteuid(), os.getegid()) == (0, 0)
        assert path.stat().st_uid == NOBODY.pw_uid
