"""The units that run `sixtykey fleet` as root forbid no system call that it makes."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fleet.test_commands import Fleet, JoiningHost, fleet
from tests.parts.host import ROOT

RENEW = ROOT / "systemd" / "fleet" / "sixtykeyd-fleet-renew.service"
LEFT = ROOT / "systemd" / "gateway" / "sixtykey-gateway-left.service"
__all__ = ["fleet"]  # the fixture


def names(group: str) -> set[str]:
    """The system calls of a group such as @chown."""
    said = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager", group],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    found: set[str] = set()
    for word in re.findall(r"^    ([@a-z_0-9-]+)$", said, re.MULTILINE):
        found |= names(word) if word.startswith("@") else {word}
    return found


def admitted(unit: Path) -> set[str]:
    """The system calls that a unit's filters allow, applied in order (systemd.exec(5))."""
    left: set[str] = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", unit.read_text(), re.MULTILINE):
        groups = set().union(*map(names, line.lstrip("~").split()))
        left = left - groups if line.startswith("~") else left | groups
    return left


@pytest.mark.skipif(os.geteuid() != 0, reason="the files get their groups from root")
def test_a_renewal_makes_no_call_that_its_unit_forbids(fleet: Fleet, tmp_path: Path) -> None:
    """A whole renewal makes no system call that its unit forbids."""
    host = JoiningHost(tmp_path / "host", "i-00000000000000008")
    assert host.fleet("join", fleet.url, fleet.token(), "--name", "web-8").code == 0
    places = ("--host-folder", str(host.folder), "--config", str(host.config))
    made = calls(tmp_path, "renew", *places)
    assert {"fchown", "connect", "rename"} <= made
    assert made <= admitted(RENEW)


@pytest.mark.skipif(os.geteuid() != 0, reason="root opens the registry as its owner")
def test_revoking_hosts_that_left_makes_no_call_that_its_unit_forbids(
    fleet: Fleet, tmp_path: Path
) -> None:
    """Revoking the credentials of a host that left makes no system call that the unit forbids."""
    host = JoiningHost(tmp_path / "host", "i-00000000000000009")
    assert host.fleet("join", fleet.url, fleet.token(), "--name", "web-9").code == 0
    assert host.fleet("leave").code == 0
    # The registry's folder is the gateway's, and root acts as its owner.
    nobody = pwd.getpwnam("nobody")
    registry = fleet.directory / "registry"
    for path in (registry, *registry.iterdir()):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    made = calls(tmp_path, "remove", "--left", "--folder", str(fleet.folder))
    assert {"setresuid", "setgroups", "connect", "rename"} <= made
    assert made <= admitted(LEFT)


def calls(folder: Path, *words: str) -> set[str]:
    """The system calls that `sixtykey fleet WORDS` makes."""
    trace = folder / "calls"
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", str(trace), sys.executable, "-m", "agent.cli", "fleet",
         *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(re.findall(r"^\d+ +([a-z_0-9]+)\(", trace.read_text(), re.MULTILINE))
