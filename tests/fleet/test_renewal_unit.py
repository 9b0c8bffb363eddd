"""sixtykeyd-fleet-renew.service forbids no system call that a renewal makes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fleet.test_commands import Fleet, JoiningHost, fleet
from tests.parts.host import ROOT

UNIT = ROOT / "systemd" / "fleet" / "sixtykeyd-fleet-renew.service"
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


def admitted() -> set[str]:
    """The system calls that the unit's filters allow, applied in order (systemd.exec(5))."""
    left: set[str] = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", UNIT.read_text(), re.MULTILINE):
        groups = set().union(*map(names, line.lstrip("~").split()))
        left = left - groups if line.startswith("~") else left | groups
    return left


@pytest.mark.skipif(os.geteuid() != 0, reason="the files get their groups from root")
def test_a_renewal_makes_no_call_that_its_unit_forbids(fleet: Fleet, tmp_path: Path) -> None:
    """A whole renewal makes no system call that its unit forbids."""
    host = JoiningHost(tmp_path / "host", "i-00000000000000008")
    assert host.fleet("join", fleet.url, fleet.token(), "--name", "web-8").code == 0
    trace = tmp_path / "calls"
    places = ("--host-folder", str(host.folder), "--config", str(host.config))
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", str(trace), sys.executable, "-m", "agent.cli", "fleet",
         "renew", *places],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = set(re.findall(r"^\d+ +([a-z_0-9]+)\(", trace.read_text(), re.MULTILINE))
    assert {"fchown", "connect", "rename"} <= made
    assert made <= admitted()
