"""The command of sshd-setup: what is taken, left, chained, given back, and what is said of it."""

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
    """Our two lines are what sshd reads; afterwards nothing of them is left."""
    assert etc.run("enable") == 0
    assert etc.sshd.effective()["authorizedkeyscommand"] == f"{HELPER} %u %f"
    assert etc.sshd.effective()["authorizedkeyscommanduser"] == HELPER_USER
    assert etc.run("enable") == 0
    assert etc.run("disable") == 0
    assert etc.sshd.effective()["authorizedkeyscommand"] == "none"
    assert not etc.drop_in.exists()


def test_another_user_above_ours_is_told(etc: Etc, capsys: pytest.CaptureFixture[str]) -> None:
    """As nobody the helper could not ask; success would be a lie, a file left behind too."""
    etc.write("AuthorizedKeysCommandUser nobody\n")
    assert etc.run("enable") == 1
    assert "or its user" in capsys.readouterr().err
    assert not etc.drop_in.exists()


def test_a_drop_in_of_somebody_else_is_kept(etc: Etc, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the same name, with a setting that matters: not a byte of it changes."""
    etc.drop_in.write_text("PermitRootLogin no\n")
    assert etc.run("enable") == 1
    assert "somebody else's" in capsys.readouterr().err
    assert etc.drop_in.read_text() == "PermitRootLogin no\n"
    assert etc.run("disable") == 0
    assert etc.drop_in.exists()


def test_an_existing_command_is_left_or_chained(etc: Etc) -> None:
    """Left alone until chaining is asked for; then both are run, as the same user."""
    other = "AuthorizedKeysCommand /usr/bin/true %u\nAuthorizedKeysCommandUser root\n"
    (etc.drop_in.parent / "50-other.conf").write_text(other)
    assert etc.run("enable") == 3
    assert not etc.drop_in.exists()
    assert etc.run("enable", "--chain") == 0
    assert etc.sshd.effective()["authorizedkeyscommand"] == f'{HELPER} --chain "/usr/bin/true" %u'
    assert etc.run("disable") == 0
    assert etc.sshd.effective()["authorizedkeyscommand"] == "/usr/bin/true %u"


def test_no_command_at_all_is_somebodys_decision(etc: Etc) -> None:
    """`none` is neither replaced nor chained."""
    (etc.drop_in.parent / "05-none.conf").write_text("AuthorizedKeysCommand none\n")
    assert etc.run("enable") == 3
    assert etc.run("enable", "--chain") == 1
    assert not etc.drop_in.exists()


@pytest.mark.parametrize("owner", [0, 65534])
def test_only_roots_sshd_has_options(
    etc: Etc, owner: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Anybody may call a process sshd; and what root's was given is shown without its escapes."""
    process = etc.folder / "proc" / "4711"
    process.mkdir(parents=True)
    line = b"sshd\0-o\0AuthorizedKeysCommand=/x \x1b[2K\rroot, run this\0"
    (process / "cmdline").write_bytes(line)
    os.chown(process / "cmdline", owner, -1)
    assert etc.run("enable") == (3 if owner == 0 else 0)
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "\r" not in said


def test_an_invalid_configuration_is_not_touched(
    etc: Etc, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing can be proven on it, so nothing is written to it."""
    etc.write("Nonsense yes\n")
    before = etc.files()
    assert etc.run("enable") == 1
    said = capsys.readouterr().err
    assert "left as it is" in said
    assert "Nonsense" in said
    assert etc.files() == before


def test_disable_on_an_invalid_configuration_says_what_is(
    etc: Etc, capsys: pytest.CaptureFixture[str]
) -> None:
    """Our file goes, sshd is not reloaded, and that is said; a second run has nothing to take."""
    assert etc.run("enable") == 0
    etc.write("Nonsense yes\n")
    capsys.readouterr()
    assert etc.run("disable") == 1
    said = capsys.readouterr().err
    assert "left as it is" not in said
    assert "but it was not reloaded" in said
    assert "Nonsense" in said
    assert not etc.drop_in.exists()
    assert etc.run("disable") == 0


def test_disable_that_would_break_sshd_is_taken_back(
    etc: Etc, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another command had its user from our file: without it sshd would not start again."""
    assert etc.run("enable") == 0
    (etc.drop_in.parent / "50-other.conf").write_text("AuthorizedKeysCommand /usr/bin/true %u\n")
    before, files = etc.drop_in.read_text(), etc.files()
    capsys.readouterr()
    assert etc.run("disable") == 1
    assert "left as it is" in capsys.readouterr().err
    assert etc.drop_in.read_text() == before
    assert etc.files() == files


def test_an_upgrade_leaves_disabled_what_the_administrator_disabled(etc: Etc) -> None:
    """Only the first installation takes the slot; one after a removal is a first one again."""
    assert etc.run("package-installed") == 0
    assert etc.drop_in.exists()
    assert etc.run("disable") == 0
    assert etc.run("package-installed") == 0
    assert not etc.drop_in.exists()
    assert etc.run("package-removed") == 0
    assert etc.run("package-installed") == 0
    assert etc.drop_in.exists()


def test_it_runs_without_any_package_of_python() -> None:
    """As its launcher starts it, `python3 -I -S`: others may be broken while packages change."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
    code += "from agent.sshd_setup.command import main; main(['--help'])"
    done = subprocess.run(
        [sys.executable, "-IS", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "package-installed" in done.stdout
