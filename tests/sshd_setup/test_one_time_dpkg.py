"""PAM's line where PAM's file is a conffile of dpkg: diverted, upgraded and restored."""

from __future__ import annotations

import os
import subprocess

import pytest

from agent.sshd_files.pam_file import LINE, SERVICE
from agent.sshd_setup import one_time
from agent.sshd_setup.diversion import Diversion
from tests.parts.dpkg import Dpkg
from tests.parts.pam_host import at
from tests.sshd_setup.etc import Etc
from tests.sshd_setup.pam import DEBIAN, faults, snapshot

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="sshd -T reads root's files")


def test_a_conffile_is_diverted_and_comes_back(debian: tuple[Etc, Dpkg]) -> None:
    """On Debian our file includes dpkg's diverted conffile, and `disable` restores it exactly."""
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
    """An upgrade of the conffile causes no prompt, and PAM reads the new version and our line."""
    host, dpkg = debian
    assert host.run("enable", "--one-time") == 0
    said = dpkg.install("openssh-server", "2", {SERVICE: DEBIAN.format("new")})
    assert "onfiguration file" not in said
    assert "new" in at(host.folder, f"{SERVICE}.distrib").read_text()
    assert faults(host) == []
    assert host.run("disable") == 0
    assert at(host.folder, SERVICE).read_text() == DEBIAN.format("new")
    # dpkg regards the restored file as unchanged: the next version causes no prompt either.
    said = dpkg.install("openssh-server", "3", {SERVICE: DEBIAN.format("newer")})
    assert "onfiguration file" not in said
    assert at(host.folder, SERVICE).read_text() == DEBIAN.format("newer")


def test_a_line_in_the_conffile_itself_would_be_asked_about(debian: tuple[Etc, Dpkg]) -> None:
    """dpkg stops to ask about an edited conffile, which is why the file is diverted."""
    host, dpkg = debian
    service = at(host.folder, SERVICE)
    service.write_text(f"{LINE}\n{service.read_text()}")
    with pytest.raises(subprocess.CalledProcessError) as stopped:
        dpkg.install("openssh-server", "2", {SERVICE: DEBIAN.format("new")})
    assert "Configuration file '/etc/pam.d/sshd'" in stopped.value.stdout


def test_earlier_edits_are_kept(debian: tuple[Etc, Dpkg]) -> None:
    """A conffile that an administrator has edited is diverted and restored unchanged."""
    host, _ = debian
    service = at(host.folder, SERVICE)
    service.write_text(service.read_text() + "session optional pam_permit.so # mine\n")
    before = snapshot(host)
    assert host.run("enable", "--one-time") == 0
    assert host.run("disable") == 0
    assert snapshot(host) == before


def test_lines_added_to_our_file_are_not_lost(debian: tuple[Etc, Dpkg]) -> None:
    """Lines that others add to our file are kept by `disable`, together with dpkg's lines."""
    host, _ = debian
    assert host.run("enable", "--one-time") == 0
    service = at(host.folder, SERVICE)
    service.write_text("auth required pam_permit.so # second\n" + service.read_text())
    assert host.run("disable") == 0
    expected = "auth required pam_permit.so # second\n" + DEBIAN.format(1)
    assert service.read_text() == expected
    assert not at(host.folder, f"{SERVICE}.distrib").exists()


def test_openssh_server_may_be_purged_meanwhile(debian: tuple[Etc, Dpkg]) -> None:
    """openssh-server can be purged and installed again, and our line stays in force.

    The line can also be removed after sshd is gone.
    """
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
    # dpkg leaves a diverted conffile at a purge; it is PAM's file again, of no package.
    assert snapshot(host) == before
    assert dpkg.diversions() == []


@pytest.mark.parametrize(
    "done", ["the other name", "both files", "all", "back", "back, all but dpkg"]
)
def test_a_run_that_was_cut_off_is_mended_by_the_next(debian: tuple[Etc, Dpkg], done: str) -> None:
    """After an interruption at any point, `enable` and `disable` complete the change."""
    host, dpkg = debian
    before = snapshot(host)
    service, other = at(host.folder, SERVICE), at(host.folder, f"{SERVICE}.distrib")

    def cut_off() -> None:
        original = DEBIAN.format(1)
        assert host.run("enable", "--one-time") == 0
        if done in {"the other name", "back"}:
            service.write_text(original)
        if done == "back, all but dpkg":
            service.write_text(original)
            other.unlink()
        if done in {"the other name", "both files"}:
            Diversion(SERVICE, str(host.folder)).remove()

    cut_off()
    assert host.run("enable", "--one-time") == 0
    assert faults(host) == []
    assert dpkg.diversions() == [SERVICE]
    assert host.run("disable") == 0
    assert snapshot(host) == before
    cut_off()
    assert host.run("disable") == 0
    assert dpkg.diversions() == []
    assert {name: found for name, found in snapshot(host).items() if name != other.name} == before


def test_a_diversion_of_somebody_else_is_left(
    debian: tuple[Etc, Dpkg], capsys: pytest.CaptureFixture[str]
) -> None:
    """If the file is already diverted by others, `enable` fails and writes nothing."""
    host, dpkg = debian
    dpkg.divert(SERVICE, "/etc/pam.d/sshd.mine")
    before = snapshot(host)
    assert host.run("enable", "--one-time") == 1
    assert "diverted by LOCAL" in capsys.readouterr().err
    assert snapshot(host) == before
    assert not host.drop_in.exists()


def test_the_slot_that_cannot_be_taken_takes_pams_line_back(debian: tuple[Etc, Dpkg]) -> None:
    """If sshd's slot cannot be taken, PAM's line and the diversion are removed again."""
    host, dpkg = debian
    host.write("UsePAM yes\nAuthorizedKeysCommandUser nobody\n")
    before = snapshot(host)
    assert host.run("enable", "--one-time") == 1
    assert snapshot(host) == before
    assert dpkg.diversions() == []


def test_every_edge_of_the_change_is_put_back(debian: tuple[Etc, Dpkg]) -> None:
    """If an error follows the change, both files and dpkg's diversions are restored."""
    host, dpkg = debian
    before = snapshot(host)
    planned, seen = one_time.plan_enable(host.sshd), []
    with pytest.raises(LookupError), one_time.apply(planned):  # noqa: PT012 - seen while it stands
        seen.append(dpkg.diversions())
        raise LookupError
    assert seen == [[SERVICE]]
    assert snapshot(host) == before
    assert dpkg.diversions() == []
