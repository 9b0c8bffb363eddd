"""PAM's line for one-time keys is written, kept and removed; the real libpam tries it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from agent.sshd_files.pam_file import LINE, PROGRAM, SERVICE
from agent.sshd_setup import pam_trial
from tests.parts.pam_host import at
from tests.parts.sshd_options import BY_OPTION, give_option
from tests.sshd_setup.etc import Etc
from tests.sshd_setup.pam import faults, snapshot

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="sshd -T reads root's files")


def test_the_line_comes_and_goes_without_a_byte_left(host: Etc) -> None:
    """`enable --one-time` adds the line once; `disable --one-time` restores the file exactly."""
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
    """`disable` and the package's removal also remove PAM's line, which would refuse all logins."""
    before = snapshot(host)
    for action in ("disable", "package-removed"):
        assert host.run("enable", "--one-time") == 0
        assert host.run(action) == 0
        assert snapshot(host) == before
        assert not host.drop_in.exists()


def test_without_pam_it_is_refused(host: Etc, capsys: pytest.CaptureFixture[str]) -> None:
    """With `UsePAM no`, `enable --one-time` fails and writes nothing."""
    host.write("UsePAM no\n")
    before = snapshot(host)
    assert host.run("enable", "--one-time") == 1
    assert "UsePAM yes" in capsys.readouterr().err
    assert snapshot(host) == before
    assert not host.drop_in.exists()


@pytest.mark.parametrize("place", BY_OPTION)
def test_without_pam_by_an_option_it_is_refused(
    host: Etc, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    """With `-o UsePAM=no` on sshd's command line, `enable --one-time` fails and writes nothing."""
    give_option(host.folder, place, "UsePAM=no")
    before = snapshot(host)
    assert host.run("enable", "--one-time") == 1
    assert "UsePAM no by -o" in capsys.readouterr().err
    assert snapshot(host) == before


def test_a_dry_run_that_fails_writes_nothing(host: Etc, capsys: pytest.CaptureFixture[str]) -> None:
    """If libpam's dry run on a copy fails, nothing is written."""
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
    """A line that names another socket is accepted and left unchanged."""
    service = at(host.folder, SERVICE)
    service.write_text(f"{LINE} --socket /run/other/lookup.sock\n{service.read_text()}")
    before = snapshot(host)
    assert host.run("enable", "--one-time") == 0
    assert snapshot(host) == before


@pytest.mark.parametrize("line", [LINE.replace("required", "optional"), f"{LINE}\n{LINE}"])
def test_an_existing_wrong_line_is_reported(
    host: Etc, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong or doubled line is reported and left unchanged."""
    service = at(host.folder, SERVICE)
    service.write_text(f"{line}\n{service.read_text()}")
    before = snapshot(host)
    assert host.run("enable", "--one-time") == 1
    assert SERVICE in capsys.readouterr().err
    assert snapshot(host) == before


def test_a_line_elsewhere_is_reported_when_ours_is_removed(
    host: Etc, capsys: pytest.CaptureFixture[str]
) -> None:
    """`disable` reports a line in an included file, which it does not edit.

    Without the package that line would refuse all logins.
    """
    folder = at(host.folder, SERVICE).parent
    (folder / "password-auth").write_text(f"{LINE}\naccount required pam_permit.so\n")
    assert host.run("disable") == 3
    assert "password-auth:1" in capsys.readouterr().err


def test_a_line_over_two_lines_is_taken_out_whole(host: Etc) -> None:
    """A line that is continued with backslashes is removed whole, and the next line is kept."""
    service = at(host.folder, SERVICE)
    rest = service.read_text()
    service.write_text(f"account required \\\n  pam_exec.so \\\n  {PROGRAM}\n{rest}")
    assert host.run("disable") == 0
    assert service.read_text() == rest


def test_libpam_says_who_is_let_in(tmp_path: Path) -> None:
    """The dry run returns libpam's decision on the files of the given folder."""
    for module, admitted in (("pam_permit.so", True), ("pam_deny.so", False)):
        (tmp_path / "sshd").write_text(f"account required {module}\n")
        assert (pam_trial.outcome(str(tmp_path)) == pam_trial.SUCCESS) is admitted
