"""During an upgrade the daemon or the helper may still be 0.1.0, which has no end mark.

released/ has the code of 0.1.0 as it was released, without its commands.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.load import one_lookup
from tests.parts.daemon import INSTANCE_ID, REGION, ZONE, RunningDaemon
from tests.parts.helper_kinds import PYTHONS
from tests.parts.host import ROOT, helper_group, login_user, work_directory
from tests.parts.keys import KeyPair, make_key
from tests.parts.raw import ask
from tests.parts.signed import push
from tests.parts.sshd import RunningSshd, install_compiled, install_helper
from tests.parts.stub_lookup import Helper

RELEASED = Path(__file__).parent / "released" / "agent-0.1.0.tar.gz"
COMMIT = "3319c23f2c3fe6a6fad0037ea86e90a45c6c25de"


@pytest.fixture(scope="module", name="released")
def _released() -> Iterator[Path]:
    """The folder of the released code, readable by every user."""
    with work_directory() as folder:
        subprocess.run(["tar", "-xzf", str(RELEASED), "-C", str(folder)], check=True)
        yield folder


class ReleasedDaemon(RunningDaemon):
    """The daemon of 0.1.0, with the configuration that it supports."""

    def __init__(self, directory: Path, code: Path) -> None:
        super().__init__(directory, environment={"PYTHONPATH": str(code)})

    def defaults(self) -> dict[str, Any]:
        """Return the configuration of 0.1.0."""
        return {
            "instance": {"id": INSTANCE_ID, "availability_zone": ZONE, "region": REGION},
            "lookup": {"socket": self.lookup_socket, "group": helper_group()},
            "push": {
                "socket": self.push_socket,
                "group": helper_group(),
                "credentials": str(self.credentials_file),
            },
            "journal": str(self.directory / "leases.db"),
        }


def pushed(daemon: RunningDaemon, user: str, key: KeyPair) -> bytes:
    """Push a key; return the line that a lookup gives for it."""
    answer = ask(daemon.push_socket, push(SSHPublicKey=key.line, InstanceOSUser=user).raw())
    assert answer.status == 200, answer
    return f"{key.type} {key.base64} {answer.request_id}\n".encode()


def released_helper(folder: Path, code: Path) -> Path:
    """The helper of 0.1.0, changed to log to `folder`."""
    source = (code / "agent" / "authorized_keys.py").read_text("utf-8")
    assert '\nSYSLOG = "/dev/log"\n' in source
    script = folder / "authorized_keys.py"
    script.write_text(source.replace('SYSLOG = "/dev/log"', 'SYSLOG = "log"'))
    return script


def test_the_released_code_is_that_of_the_history(released: Path) -> None:
    """The released code matches its commit file by file, where git has that commit."""
    archive = subprocess.run(
        ["git", "archive", "--format=tar", COMMIT, "agent"],
        cwd=ROOT, capture_output=True, check=False,
    )  # fmt: skip
    files = [path for path in released.rglob("*") if path.is_file() and path.suffix == ".py"]
    assert {released / "agent" / name for name in ("lookup.py", "daemon.py")} < set(files)
    if archive.returncode == 0:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as history:
            for path in files:
                member = history.extractfile(str(path.relative_to(released)))
                assert member is not None
                assert member.read() == path.read_bytes()


def test_the_older_helper_gets_keys_from_this_daemon(released: Path) -> None:
    """The helper of 0.1.0 prints this daemon's keys, and warns about the empty line."""
    with (
        work_directory() as folder,
        RunningDaemon(folder) as daemon,
        contextlib.closing(Helper(folder)) as log,
    ):
        key = make_key(folder)
        line = pushed(daemon, "alice", key)
        script = released_helper(folder, released)
        for words, expected in ((["alice"], line), (["alice", key.fingerprint()], line),
                                (["bob"], b"")):  # fmt: skip
            command = [PYTHONS["python"], "-I", "-S", str(script), "--socket"]
            done = subprocess.run(
                [*command, daemon.lookup_socket, *words],
                cwd=folder, capture_output=True, check=True, timeout=60,
            )  # fmt: skip
            assert (done.stdout, done.stderr) == (expected, b"")
            (warning,) = log.warnings()
            assert b"dropped what sixtykeyd does not write" in warning


def test_this_helper_gets_keys_from_the_older_daemon(helper: Helper, released: Path) -> None:
    """This helper prints the keys of the 0.1.0 daemon, and warns that the end mark is missing."""
    with work_directory() as folder, ReleasedDaemon(folder, released) as daemon:
        key = make_key(folder)
        line = pushed(daemon, "alice", key)
        for words, expected in ((["alice"], line), (["alice", key.fingerprint()], line),
                                (["bob"], b"")):  # fmt: skip
            ran = helper.run("--socket", daemon.lookup_socket, *words)
            assert (ran.status, ran.out, ran.err, len(ran.warnings)) == (0, expected, b"", 1)
            assert b"no end mark: is sixtykeyd older than this helper?" in ran.warnings[0]
        # It is the older daemon: it sends no end mark.
        assert one_lookup(daemon.lookup_socket, b"alice\n") == line


def test_logins_go_on_whichever_side_is_upgraded_first(released: Path) -> None:
    """Logins work when only the daemon, or only the helper, has been upgraded from 0.1.0."""

    def older(folder: Path) -> Path:
        return install_helper(folder, module=released / "agent" / "authorized_keys.py")

    with work_directory() as folder, login_user() as user:
        for name, install in {
            "older": older,
            "compiled": install_compiled,
            "python": install_helper,
        }.items():
            place = folder / name
            place.mkdir(mode=0o755)
            made = RunningDaemon(place) if install is older else ReleasedDaemon(place, released)
            with made as daemon, RunningSshd(place, made.lookup_socket, install=install) as sshd:
                key = make_key(place)
                assert not sshd.login(user, key).accepted
                pushed(daemon, user, key)
                done = sshd.login(user, key)
                assert done.accepted, f"{done.message}\n{sshd.log()}"
