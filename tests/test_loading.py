"""Which code the daemon loads, and when. The interpreter itself lists what it imports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.parts.daemon import RunningDaemon
from tests.parts.host import work_directory
from tests.parts.raw import Raw, ask
from tests.parts.signed import push, sign

# Each import is a line on stderr (python(1), PYTHONPROFILEIMPORTTIME).
LISTED = {"PYTHONPROFILEIMPORTTIME": "1"}
# The standard library may load parts of itself late, as asyncio does for a warning.
OURS = (
    "agent", "paramiko", "invoke", "nacl", "cryptography", "cachetools", "yaml", "h11", "sqlite3",
)  # fmt: skip
EC2 = {"ec2": {"metadata": "http://127.0.0.1:1", "roots": "/etc/ssl/certs"}}


@pytest.fixture(name="folder")
def _folder() -> Iterator[Path]:
    with work_directory() as folder:
        yield folder


def loaded(log: str) -> list[str]:
    """The modules of OURS that were imported, in order."""
    lines = [line for line in log.splitlines() if line.startswith("import time:")]
    names = [line.rpartition("|")[2].strip() for line in lines]
    return [name for name in names if name.partition(".")[0] in OURS]


def test_modules_of_unconfigured_parts_are_not_loaded(folder: Path) -> None:
    """Without `fleet`, `ec2` and one-time keys, no code of theirs is loaded; with `ec2`, its is.

    invoke, which paramiko loads if it is there, is never loaded.
    """
    source = {"source": {"socket": str(folder / "source.sock")}}
    with RunningDaemon(folder, environment=LISTED) as daemon:
        modules = set(loaded(daemon.log()))
        assert {"agent.sources.intake", "agent.lookup.server", "paramiko"} <= modules
        # The interpreter lists a failed import, too; one that succeeds loads modules below it.
        assert not {name for name in modules if name.startswith("invoke.")}
        assert not {
            name for name in modules if name.startswith(("agent.fleet", "agent.sshd_files"))
        }
        assert {name for name in modules if name.startswith("agent.sources.feed.")} == {
            "agent.sources.feed.roles"
        }
        daemon.stop()
        daemon.change({**EC2, **source})
        daemon.start()
        modules = set(loaded(daemon.log()))
        assert {"agent.sources.feed.ec2", "agent.sources.feed.server"} <= modules


@pytest.mark.parametrize("config", [{}, EC2], ids=["default", "ec2"])
def test_no_push_and_no_login_waits_for_an_import(config: dict[str, Any], folder: Path) -> None:
    """Pushes over TCP and the push socket, refusals and lookups load nothing after the start."""
    source = {"source": {"socket": str(folder / "source.sock")}}
    with RunningDaemon(folder, config={**config, **source}, environment=LISTED) as daemon:
        before = loaded(daemon.log())
        assert before
        address = ("127.0.0.1", daemon.http_port)
        assert ask(address, sign(push()).raw()).code == ""
        assert ask(address, push().raw()).code != ""
        assert ask(daemon.push_socket, push().raw()).code == ""
        for line in (b"ec2-user\n", b"nobody\n", b"ec2-user SHA256:" + b"A" * 43 + b"\n"):
            with Raw(daemon.lookup_socket) as helper, helper.send(line).sock.makefile("rb") as told:
                assert told.read().endswith(b"\n")
        assert loaded(daemon.log()) == before
