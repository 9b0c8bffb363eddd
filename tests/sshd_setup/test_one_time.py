"""PAM's line for one-time keys, by the real libpam and the real dpkg: written, kept, taken away."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.sshd_files.pam_file import LINE, PROGRAM, SERVICE, account_lines, line_faults
from agent.sshd_setup import one_time, pam_trial
from tests.parts.dpkg import Dpkg
from tests.parts.pam_host import RED_HAT, at
from tests.sshd_setup.conftest import Etc

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="sshd -T reads root's files")
# Modules that let root in on every host, in the forms of the two families.
DEBIAN = (
    "# openssh-server's own, {0}\n@include common-auth\naccount    required     pam_permit.so\n"
    "@include common-account\nsession    required     pam_permit.so\n"
)
ACCOUNT = "account\t[success=1 new_authtok_reqd=done default=ignore]\tpam_permit.so\n"
ACCOUNT += "account\trequisite\tpam_deny.so\naccount\trequired\tpam_permit.so\n"


@pytest.fixture
def host(etc: Etc) -> Etc:
    """A host whose sshd uses PAM, with pam-account, and with files of no package of dpkg's."""
    etc.write("UsePAM yes\n")
    program = at(etc.folder, PROGRAM)
    program.parent.mkdir(parents=True)
    shutil.copy("/bin/true", program)
    folder = at(etc.folder, SERVICE).parent
    folder.mkdir(parents=True)
    (folder / "common-auth").write_text("auth required pam_permit.so\n")
    (folder / "common-account").write_text(ACCOUNT)
    (folder / "password-auth").write_text("account sufficient pam_permit.so\n")
    at(etc.folder, SERVICE).write_text(RED_HAT.replace("pam_sepermit", "pam_permit"))
    return etc


@pytest.fixture
def debian(host: Etc) -> tuple[Etc, Dpkg]:
    """The same where dpkg has brought PAM's file for sshd, as a conffile."""
    at(host.folder, SERVICE).unlink()
    dpkg = Dpkg(host.folder)
    dpkg.install("openssh-server", "1", {SERVICE: DEBIAN.format(1)})
    return host, dpkg


def faults(host: Etc) -> list[str]:
    """What is wrong with the line."""
    lines = list(account_lines(str(at(host.folder, SERVICE)), str(host.folder)))
    return [fault.name for fault in line_faults(lines)]


def snapshot(host: Etc) -> dict[str, tuple[int, bytes]]:
    """Mode and content of all of PAM's files."""
    folder = at(host.folder, SERVICE).parent
    return {p.name: (p.stat().st_mode, p.read_bytes()) for p in folder.iterdir()}


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


def test_a_conffile_is_diverted_and_comes_back(debian: tuple[Etc, Dpkg]) -> None:
    """On Debian: dpkg's file is included by ours, and is the same file again afterwards."""
    host, dpkg = debian
    before = snapshot(host)
    assert host.run("enable", "--one-time") == 0
    assert faults(host) == []
    assert "sshd.distrib" in snapshot(host)
    assert dpkg.diversions() == [SERVICE]
    assert host.run("enable", "--one-time") == 0
    assert host.run("disable") == 0
    assert snapshot(host) == before
    assert dpkg.diversions() == []


def test_an_upgrade_asks_nobody_and_is_in_force_at_once(debian: tuple[Etc, Dpkg]) -> None:
    """The package's new version of its conffile: no prompt, and PAM reads it, ours in front."""
    host, dpkg = debian
    assert host.run("enable", "--one-time") == 0
    said = dpkg.install("openssh-server", "2", {SERVICE: DEBIAN.format("new")})
    assert "onfiguration file" not in said
    assert "new" in at(host.folder, f"{SERVICE}.distrib").read_text()
    assert faults(host) == []
    assert host.run("disable") == 0
    assert at(host.folder, SERVICE).read_text() == DEBIAN.format("new")
    # And dpkg takes it for what it brought: the next version comes without a question, too.
    said = dpkg.install("openssh-server", "3", {SERVICE: DEBIAN.format("newer")})
    assert "onfiguration file" not in said
    assert at(host.folder, SERVICE).read_text() == DEBIAN.format("newer")


def test_a_line_in_the_conffile_itself_would_be_asked_about(debian: tuple[Etc, Dpkg]) -> None:
    """Why it is diverted: dpkg stops at a conffile that somebody has edited, and waits."""
    host, dpkg = debian
    service = at(host.folder, SERVICE)
    service.write_text(f"{LINE}\n{service.read_text()}")
    with pytest.raises(subprocess.CalledProcessError) as stopped:
        dpkg.install("openssh-server", "2", {SERVICE: DEBIAN.format("new")})
    assert "Configuration file '/etc/pam.d/sshd'" in stopped.value.stdout


def test_what_was_edited_before_stays_edited(debian: tuple[Etc, Dpkg]) -> None:
    """An administrator's own conffile is diverted as it is, and comes back as it is."""
    host, _ = debian
    service = at(host.folder, SERVICE)
    service.write_text(service.read_text() + "session optional pam_permit.so # mine\n")
    before = snapshot(host)
    assert host.run("enable", "--one-time") == 0
    assert host.run("disable") == 0
    assert snapshot(host) == before


def test_what_was_written_into_our_file_is_not_lost(debian: tuple[Etc, Dpkg]) -> None:
    """Somebody adds a second factor to /etc/pam.d/sshd meanwhile: it stays, around dpkg's lines."""
    host, _ = debian
    assert host.run("enable", "--one-time") == 0
    service = at(host.folder, SERVICE)
    service.write_text("auth required pam_permit.so # second\n" + service.read_text())
    assert host.run("disable") == 0
    expected = "auth required pam_permit.so # second\n" + DEBIAN.format(1)
    assert service.read_text() == expected
    assert not at(host.folder, f"{SERVICE}.distrib").exists()


def test_openssh_server_may_be_purged_meanwhile(debian: tuple[Etc, Dpkg]) -> None:
    """And come back, with our line in force; without any sshd the line is taken out as well."""
    host, dpkg = debian
    before = snapshot(host)
    assert host.run("enable", "--one-time") == 0
    dpkg.purge("openssh-server")
    assert faults(host) == []
    dpkg.install("openssh-server", "1", {SERVICE: DEBIAN.format(1)})
    assert faults(host) == []
    dpkg.purge("openssh-server")
    host.config.unlink()
    assert host.run("package-removed") == 0
    # dpkg leaves a diverted conffile at a purge; it is PAM's file again, and nobody's.
    assert snapshot(host) == before
    assert dpkg.diversions() == []


def test_a_diversion_of_somebody_else_is_left(
    debian: tuple[Etc, Dpkg], capsys: pytest.CaptureFixture[str]
) -> None:
    """One file has one diversion; nothing is written, and the slot is not taken either."""
    host, dpkg = debian
    dpkg.divert(SERVICE, "/etc/pam.d/sshd.mine")
    before = snapshot(host)
    assert host.run("enable", "--one-time") == 1
    assert "diverted by LOCAL" in capsys.readouterr().err
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


def test_the_slot_that_cannot_be_taken_takes_pams_line_back(debian: tuple[Etc, Dpkg]) -> None:
    """All or nothing: another user above ours is in the way, and PAM and dpkg are as before."""
    host, dpkg = debian
    host.write("UsePAM yes\nAuthorizedKeysCommandUser nobody\n")
    before = snapshot(host)
    assert host.run("enable", "--one-time") == 1
    assert snapshot(host) == before
    assert dpkg.diversions() == []


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


def test_every_edge_of_the_change_is_put_back(debian: tuple[Etc, Dpkg]) -> None:
    """Whatever goes wrong while it stands: both files and dpkg's list are as before."""
    host, dpkg = debian
    before = snapshot(host)
    planned, seen = one_time.enabling(host.sshd), []
    with pytest.raises(LookupError), one_time.written(planned):  # noqa: PT012 - seen while it stands
        seen.append(dpkg.diversions())
        raise LookupError
    assert seen == [[SERVICE]]
    assert snapshot(host) == before
    assert dpkg.diversions() == []
