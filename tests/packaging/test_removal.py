"""The packages' scripts before a removal: a removal that is refused changes nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Callable

import pytest

from tests.parts.host import ROOT

PROGRAM = "/usr/lib/sixtykey/pam-account"
LINE = f"account required pam_exec.so quiet {PROGRAM}\n"


def deb() -> tuple[str, str]:
    """The deb's script up to debhelper's part, and its argument on a removal."""
    text = (ROOT / "packaging/debian/sixtykey.prerm").read_text("utf-8")
    return text.partition("#DEBHELPER#")[0], "remove"


def rpm() -> tuple[str, str]:
    """The rpm's script up to the units' part, and its argument on a removal."""
    text = (ROOT / "packaging/rpm/sixtykey.spec").read_text("utf-8")
    script = text.partition("\n%preun\n")[2].partition("    systemctl disable")[0] + "fi\n"
    return "set -e\n" + script.replace("%{private}", "/usr/lib/sixtykey"), "0"


def run(folder: Path, script: str, argument: str) -> tuple[int, str]:
    """Run a script on a host whose files are in the folder; return its status and its words.

    sshd-setup is played by a script that takes its line out of PAM's file for sshd, as it does.
    """
    setup = folder / "sshd-setup"
    setup.write_text(
        f'#!/bin/sh\necho "$@" >>{folder}/called\nsed -i /pam-account/d {folder}/sshd\n', "utf-8"
    )
    setup.chmod(0o755)
    here = script.replace("/usr/lib/sixtykey/sshd-setup", str(setup))
    here = here.replace("/etc/pam.d", str(folder)).replace("systemctl", "true")
    command = ["sh", "-c", here, "script", argument]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stderr


@pytest.mark.parametrize("package", [deb, rpm])
def test_a_line_in_sshds_own_file_does_not_stop_a_removal(
    tmp_path: Path, package: Callable[[], tuple[str, str]]
) -> None:
    """The line that sshd-setup wrote is taken out, and the package may go."""
    (tmp_path / "sshd").write_text(f"{LINE}# the rest\n")
    (tmp_path / "common-account").write_text(f"#{LINE}")
    (tmp_path / "sshd.dpkg-old").write_text(LINE)
    assert run(tmp_path, *package())[0] == 0
    assert (tmp_path / "called").read_text() == "package-removed\n"
    assert (tmp_path / "sshd").read_text() == "# the rest\n"


@pytest.mark.parametrize("package", [deb, rpm])
def test_a_refused_removal_changes_nothing(
    tmp_path: Path, package: Callable[[], tuple[str, str]]
) -> None:
    """While another of PAM's files runs pam-account, the package stays, with all of its lines."""
    (tmp_path / "sshd").write_text(LINE)
    # As authselect has it: a link to a file elsewhere.
    elsewhere = tmp_path.parent / f"{tmp_path.name}-profile"
    elsewhere.write_text(LINE)
    (tmp_path / "common-account").symlink_to(elsewhere)
    status, said = run(tmp_path, *package())
    assert status == 1
    assert f"take it out of {tmp_path}/common-account first" in said
    assert not (tmp_path / "called").exists()
    assert (tmp_path / "sshd").read_text() == LINE
