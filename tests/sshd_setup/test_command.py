"""The sshd-setup command: when it takes, leaves, chains and frees sshd's command slot."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from agent.sshd_setup.lines import HELPER, HELPER_USER
from tests.parts.host import ROOT
from tests.sshd_setup.etc import Etc

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="sshd -T reads root's files")


def test_a_free_slot_is_taken_and_given_back(etc: Etc) -> None:
    """A free slot is taken by `enable` and freed by `disable`, and sshd reads it so."""
    assert etc.run("enable") == 0
    assert etc.sshd.effective()["authorizedkeyscommand"] == f"{HELPER} %u %f"
    assert etc.sshd.effective()["authorizedkeyscommanduser"] == HELPER_USER
    assert etc.run("enable") == 0
    assert etc.run("disable") == 0
    assert etc.sshd.effective()["authorizedkeyscommand"] == "none"
    assert not etc.drop_in.exists()


def test_another_user_above_ours_is_reported(etc: Etc, capsys: pytest.CaptureFixture[str]) -> None:
    """If another AuthorizedKeysCommandUser comes first, `enable` fails and leaves no file."""
    etc.write("AuthorizedKeysCommandUser nobody\n")
    assert etc.run("enable") == 1
    assert "or its user" in capsys.readouterr().err
    assert not etc.drop_in.exists()


def test_a_drop_in_of_somebody_else_is_kept(etc: Etc, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of the same name that sshd-setup did not write is left unchanged."""
    etc.drop_in.write_text("PermitRootLogin no\n")
    assert etc.run("enable") == 1
    assert "belongs to somebody else" in capsys.readouterr().err
    assert etc.drop_in.read_text() == "PermitRootLogin no\n"
    assert etc.run("disable") == 0
    assert etc.drop_in.exists()


def test_an_existing_command_is_left_or_chained(etc: Etc) -> None:
    """An existing command is left alone, or chained with --chain and restored by `disable`."""
    other = "AuthorizedKeysCommand /usr/bin/true %u\nAuthorizedKeysCommandUser root\n"
    (etc.drop_in.parent / "50-other.conf").write_text(other)
    assert etc.run("enable") == 3
    assert not etc.drop_in.exists()
    assert etc.run("enable", "--chain") == 0
    assert etc.sshd.effective()["authorizedkeyscommand"] == f'{HELPER} --chain "/usr/bin/true" %u'
    assert etc.run("disable") == 0
    assert etc.sshd.effective()["authorizedkeyscommand"] == "/usr/bin/true %u"


def test_no_command_at_all_is_somebodys_decision(etc: Etc) -> None:
    """`AuthorizedKeysCommand none` is neither replaced nor chained."""
    (etc.drop_in.parent / "05-none.conf").write_text("AuthorizedKeysCommand none\n")
    assert etc.run("enable") == 3
    assert etc.run("enable", "--chain") == 1
    assert not etc.drop_in.exists()


@pytest.mark.parametrize("owner", [0, 65534])
def test_only_roots_sshd_has_options(
    etc: Etc, owner: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only options of root's sshd count, and they are shown without control characters."""
    process = etc.folder / "proc" / "4711"
    process.mkdir(parents=True)
    line = b"sshd\0-o\0AuthorizedKeysCommand=/x \x1b[2K\rroot, run this\0"
    (process / "cmdline").write_bytes(line)
    os.chown(process, owner, -1)
    assert etc.run("enable") == (3 if owner == 0 else 0)
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "\r" not in said


def test_an_invalid_configuration_is_not_touched(
    etc: Etc, capsys: pytest.CaptureFixture[str]
) -> None:
    """With an invalid sshd_config `enable` fails and writes nothing."""
    etc.write("Nonsense yes\n")
    before = etc.files()
    assert etc.run("enable") == 1
    said = capsys.readouterr().err
    assert "not changed" in said
    assert "Nonsense" in said
    assert etc.files() == before


def test_disable_on_an_invalid_configuration_says_what_is(
    etc: Etc, capsys: pytest.CaptureFixture[str]
) -> None:
    """With an invalid sshd_config `disable` removes our file and reports the missing reload."""
    assert etc.run("enable") == 0
    etc.write("Nonsense yes\n")
    capsys.readouterr()
    assert etc.run("disable") == 1
    said = capsys.readouterr().err
    assert "not changed" not in said
    assert "but it could not be reloaded" in said
    assert "Nonsense" in said
    assert not etc.drop_in.exists()
    assert etc.run("disable") == 0


def test_disable_that_would_break_sshd_is_taken_back(
    etc: Etc, capsys: pytest.CaptureFixture[str]
) -> None:
    """`disable` restores our file when sshd's configuration would be invalid without it."""
    assert etc.run("enable") == 0
    (etc.drop_in.parent / "50-other.conf").write_text("AuthorizedKeysCommand /usr/bin/true %u\n")
    before, files = etc.drop_in.read_text(), etc.files()
    capsys.readouterr()
    assert etc.run("disable") == 1
    assert "not changed" in capsys.readouterr().err
    assert etc.drop_in.read_text() == before
    assert etc.files() == files


def test_an_upgrade_leaves_disabled_what_the_administrator_disabled(etc: Etc) -> None:
    """The package takes the slot at its first installation only, not at an upgrade.

    After a removal, the next installation counts as the first one again.
    """
    assert etc.run("package-installed") == 0
    assert etc.drop_in.exists()
    assert etc.run("disable") == 0
    assert etc.run("package-installed") == 0
    assert not etc.drop_in.exists()
    assert etc.run("package-removed") == 0
    assert etc.run("package-installed") == 0
    assert etc.drop_in.exists()


def test_sshd_setup_runs_without_installed_python_packages() -> None:
    """The command runs under `python3 -I -S`, without any installed Python package."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
    code += "from agent.sshd_setup.command import main; main(['--help'])"
    done = subprocess.run(
        [sys.executable, "-IS", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "package-installed" in done.stdout
