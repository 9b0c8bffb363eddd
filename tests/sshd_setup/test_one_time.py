"""PAM's line for one-time keys, tried by the real libpam: written, kept, taken away."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from agent.sshd_files.pam_file import LINE, PROGRAM, SERVICE
from agent.sshd_setup import pam_trial
from tests.parts.pam_host import at
from tests.sshd_setup.etc import Etc
from tests.sshd_setup.pam import faults, snapshot

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="sshd -T reads root's files")


def test_the_line_comes_and_goes_without_a_byte_left(host: Etc) -> None:
    """In the file itself, where no package manager asks; a second run changes nothing."""
    at(host.folder, SERVICE).chmod(0o600)
    before = snapshot(host)
    assert host.run("enable", "--one-time") == 0
    assert faults(host) == []
    assert at(host.folder, SERVICE).stat().st_mode & 0o777 == 0o600
    written = snapshot(host)
    assert host.run("enable", "--one-time") == 0
    assert snapshot(host) == written
    assert host.run("disable", "--one-time") == 0
    assert snapshot(host) == before
    assert host.drop_in.exists()


def test_disable_and_the_packages_removal_take_it_along(host: Etc) -> None:
    """With the package gone, a line that is left would let nobody in."""
    before = snapshot(host)
    for action in ("disable", "package-removed"):
        assert host.run("enable", "--one-time") == 0
        assert host.run(action) == 0
        assert snapshot(host) == before
        assert not host.drop_in.exists()


def test_without_pam_it_is_refused(host: Etc, capsys: pytest.CaptureFixture[str]) -> None:
    """UsePAM no: sshd would never come to the line; nothing is written."""
    host.write("UsePAM no\n")
    before = snapshot(host)
    assert host.run("enable", "--one-time") == 1
    assert "UsePAM yes" in capsys.readouterr().err
    assert snapshot(host) == before
    assert not host.drop_in.exists()


def test_a_dry_run_that_fails_writes_nothing(host: Etc, capsys: pytest.CaptureFixture[str]) -> None:
    """By libpam itself, on a copy: pam-account that says no, and files that cannot be read."""
    before = snapshot(host)
    shutil.copy("/bin/false", at(host.folder, PROGRAM))
    assert host.run("enable", "--one-time") == 1
    assert "dry run" in capsys.readouterr().err
    assert snapshot(host) == before
    shutil.copy("/bin/true", at(host.folder, PROGRAM))
    at(host.folder, SERVICE).write_text("session required pam_permit.so\n")
    assert host.run("enable", "--one-time") == 1
    assert "no account phase" in capsys.readouterr().err
    assert not host.drop_in.exists()


def test_a_line_for_another_socket_is_in_order(host: Etc) -> None:
    """Which socket the daemon has is the configuration's to say."""
    service = at(host.folder, SERVICE)
    service.write_text(f"{LINE} --socket /run/other/lookup.sock\n{service.read_text()}")
    before = snapshot(host)
    assert host.run("enable", "--one-time") == 0
    assert snapshot(host) == before


@pytest.mark.parametrize("line", [LINE.replace("required", "optional"), f"{LINE}\n{LINE}"])
def test_a_wrong_line_of_somebody_is_told(
    host: Etc, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is neither doubled nor mended behind anybody's back."""
    service = at(host.folder, SERVICE)
    service.write_text(f"{line}\n{service.read_text()}")
    before = snapshot(host)
    assert host.run("enable", "--one-time") == 1
    assert SERVICE in capsys.readouterr().err
    assert snapshot(host) == before


def test_a_line_elsewhere_is_told_when_ours_goes(
    host: Etc, capsys: pytest.CaptureFixture[str]
) -> None:
    """In an included file: not ours to edit, and without the package it locks everybody out."""
    folder = at(host.folder, SERVICE).parent
    (folder / "password-auth").write_text(f"{LINE}\naccount required pam_permit.so\n")
    assert host.run("disable") == 3
    assert "password-auth:1" in capsys.readouterr().err


def test_a_line_over_two_lines_is_taken_out_whole(host: Etc) -> None:
    """One that a backslash continues: what follows it is not drawn into it."""
    service = at(host.folder, SERVICE)
    rest = service.read_text()
    service.write_text(f"account required \\\n  pam_exec.so \\\n  {PROGRAM}\n{rest}")
    assert host.run("disable") == 0
    assert service.read_text() == rest


def test_libpam_says_who_is_let_in(tmp_path: Path) -> None:
    """The dry run tells yes from no, by the files of the folder that it is given."""
    for module, admitted in (("pam_permit.so", True), ("pam_deny.so", False)):
        (tmp_path / "sshd").write_text(f"account required {module}\n")
        assert (pam_trial.outcome(str(tmp_path)) == pam_trial.SUCCESS) is admitted
