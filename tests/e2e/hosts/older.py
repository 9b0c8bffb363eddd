"""The older build for upgrade tests: today's source with the paths of 0.1.0.

0.1.0 had its journal beside the sockets, in a folder of the daemon's user, and did not notice when
its files were moved. Today's code would write them again at the place that the new daemon leaves.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

from tests.parts.host import ROOT

VERSION = "0.0.1"
_CHECK = """\
        if not self.sound:
            return
        try:
            journal_file.check_owned"""
# File, what stands there today, and what stood there.
_EDITS = [
    ("systemd/sixtykey.tmpfiles", "root root", "sixtykey sixtykey"),
    ("systemd/sixtykey.tmpfiles", "d /run/sixtykey/journal 0700 sixtykey sixtykey -\n", ""),
    ("systemd/sixtykeyd.service", "Paths=-/run/sixtykey/journal", "Paths=-/run/sixtykey"),
    ("agent/config/settings.py", '"/run/sixtykey/journal/leases.db"', '"/run/sixtykey/leases.db"'),
    ("agent/leases/journal.py", _CHECK, _CHECK.replace("if not self.sound:\n            ", "")),
]


def build(kind: str, work: Path) -> Path:
    """Build the older deb or rpm from the committed source; return its folder."""
    tree = work / f"older-{kind}"
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{ROOT}", tree], check=True)
    for name, today, then in _EDITS:
        text = (tree / name).read_text("utf-8")
        if today not in text:
            raise ValueError(f"{name} has no {today!r}: write down how 0.1.0 had it")
        (tree / name).write_text(text.replace(today, then), "utf-8")
    # The libraries that this version's build has fetched already.
    wheels = ROOT / "build/wheels"
    if wheels.exists():
        (tree / "build").mkdir()
        (tree / "build/wheels").symlink_to(wheels)
    processor = deb_architecture() if kind == "deb" else platform.machine()
    subprocess.run(
        [tree / f"packaging/build-{kind}", VERSION, processor],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHON": sys.executable},
    )  # fmt: skip
    return tree / "dist"


def deb_architecture() -> str:
    """Debian's name of this machine's processor."""
    command = ["dpkg", "--print-architecture"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
