"""One daemon for the tests of a module, a key pair, an OS user, and a host to be checked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.checked_host import CheckedHost
from tests.parts.daemon import RunningDaemon
from tests.parts.host import IS_ROOT, os_user, own_name, work_directory
from tests.parts.keys import KeyPair, make_key
from tests.parts.sshd import helper_command


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """A folder that other users can enter."""
    with work_directory() as folder:
        yield folder


@pytest.fixture(scope="module")
def daemon(directory: Path) -> Iterator[RunningDaemon]:
    """A running daemon."""
    with RunningDaemon(directory) as running:
        yield running


@pytest.fixture(scope="module")
def key(directory: Path) -> KeyPair:
    """A key pair."""
    return make_key(directory, "module_key")


@pytest.fixture(scope="module")
def user() -> Iterator[str]:
    """An OS user of this host: root creates one, other users use their own."""
    if not IS_ROOT:
        yield own_name()
        return
    with os_user() as name:
        yield name


@pytest.fixture(scope="module")
def host(user: str) -> Iterator[CheckedHost]:
    """A host without faults; tests that change it restore it."""
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    with work_directory() as folder, helper_command() as helper:
        make_key(folder, "host_key")
        with RunningDaemon(folder, config={"push": {"group": "root"}}) as daemon:
            yield CheckedHost(daemon, folder, helper, user)


@pytest.fixture
def restored(host: CheckedHost) -> Iterator[CheckedHost]:
    """The host, with the modes and contents of its files put back afterwards."""
    paths = [host.daemon.credentials_file, Path(host.daemon.lookup_socket)]
    before = [(path, path.stat()) for path in paths]
    text = host.daemon.credentials_file.read_text()
    yield host
    host.daemon.credentials_file.write_text(text)
    for path, status in before:
        os.chown(path, status.st_uid, status.st_gid)
        path.chmod(status.st_mode & 0o777)
