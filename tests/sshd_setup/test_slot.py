"""The slot on hosts without Include, with AWS's lines or with AWS's unit: taken and freed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.sshd_files import command_lines
from agent.sshd_setup import units
from agent.sshd_setup.lines import HELPER, HELPER_USER
from tests.sshd_setup.etc import Etc

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="sshd -T reads root's files")
AWS = "/usr/share/ec2-instance-connect/eic_run_authorized_keys"
# As AWS's packages have them: at the end of sshd_config, and in a drop-in of Ubuntu's unit.
AWS_LINES = f"AuthorizedKeysCommand {AWS} %u %f\nAuthorizedKeysCommandUser ec2-instance-connect\n"
SERVICE = "[Service]\nEnvironmentFile=-/etc/default/ssh\nExecStart=/usr/sbin/sshd -D $SSHD_OPTS\n"
AWS_DROP_IN = f"""\
[Service]
ExecStart=
ExecStart=/usr/sbin/sshd -D -o "AuthorizedKeysCommand {AWS} %%u %%f" \
-o "AuthorizedKeysCommandUser ec2-instance-connect" $SSHD_OPTS
"""
FOLDER = "usr/lib/systemd/system"


def snapshot(etc: Etc) -> dict[str, tuple[int, bytes]]:
    """Mode and content of every file, except the lock and the note of a run."""
    files = (path for path in etc.folder.rglob("*") if path.is_file() or path.is_dir())
    return {
        str(path.relative_to(etc.folder)): (
            path.stat().st_mode, b"" if path.is_dir() else path.read_bytes()
        )
        for path in files if not {"run", "var"} & {*path.relative_to(etc.folder).parts}
    }  # fmt: skip


def given_by_option(root: str) -> list[command_lines.CommandLine]:
    """The lines of units that pass a command by `-o`."""
    lines = command_lines.configured(root)
    return [line for line in lines if "AuthorizedKeysCommand" in line.text]


def ours(etc: Etc) -> bool:
    """Whether sshd itself reports our command and our user."""
    said = etc.sshd.effective()
    command, user = said["authorizedkeyscommand"], said["authorizedkeyscommanduser"]
    return (command, user) == (f"{HELPER} %u %f", HELPER_USER)


def without_include(etc: Etc, more: str = "") -> None:
    """Write an sshd_config as on Amazon Linux 2023, with some CR LF and no final newline."""
    text = f"# AL2023\r\nHostKey {etc.folder}/host_key\n{more}Match User nobody\n  X11Forwarding no"
    etc.config.write_bytes(text.encode())
    etc.config.chmod(0o600)


def ubuntu(etc: Etc, drop_in: str = AWS_DROP_IN) -> None:
    """Write Ubuntu's unit with AWS's drop-in."""
    folder = etc.folder / FOLDER
    (folder / "ssh.service.d").mkdir(parents=True)
    (folder / "ssh.service").write_text(SERVICE)
    (folder / "ssh.service.d" / "ec2-instance-connect.conf").write_text(drop_in)


def test_without_include_our_lines_stand_at_the_head(etc: Etc) -> None:
    """Without Include, our lines are put at the head of sshd_config, and removed exactly."""
    without_include(etc)
    before = snapshot(etc)
    assert etc.run("enable") == 0
    assert ours(etc)
    assert etc.config.stat().st_mode & 0o777 == 0o600
    assert etc.run("enable") == 0
    assert etc.run("disable") == 0
    assert snapshot(etc) == before


def test_a_package_does_not_edit_anothers_file(
    etc: Etc, capsys: pytest.CaptureFixture[str]
) -> None:
    """The package's script does not edit sshd_config; it names the command that would."""
    without_include(etc)
    before = snapshot(etc)
    assert etc.run("package-installed") == 3
    assert "sshd-setup enable" in capsys.readouterr().err
    assert snapshot(etc) == before


@pytest.mark.parametrize("included", [True, False])
def test_replace_comments_awss_lines_out_and_disable_restores_them(
    etc: Etc, included: bool
) -> None:
    """`enable --replace` comments AWS's lines out and keeps a copy; `disable` restores all."""
    without_include(etc, AWS_LINES + (f"Include {etc.drop_in}\n" if included else ""))
    before = snapshot(etc)
    assert etc.run("enable", "--replace") == 0
    assert ours(etc)
    text = etc.config.read_text()
    assert f"\n#sixtykey# AuthorizedKeysCommand {AWS}" in text
    assert (etc.folder / "sshd_config.before-sixtykey").read_bytes() == before["sshd_config"][1]
    assert etc.drop_in.exists() is included
    assert etc.run("enable", "--replace") == 0
    assert etc.config.read_text() == text
    assert etc.run("disable") == 0
    assert snapshot(etc) == before


def test_without_consent_it_says_what_it_would_do(
    etc: Etc, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --replace, every step for sshd_config and a unit is listed, and none is done."""
    without_include(etc, AWS_LINES)
    ubuntu(etc)
    before = snapshot(etc)
    assert etc.run("enable") == 3
    said = capsys.readouterr().err
    for words in (
        "enable --replace", "enable --chain", f"line 3 of {etc.config} a comment",
        f"line 4 of {etc.config} a comment", "sshd_config.before-sixtykey",
        f"our two lines at the top of {etc.config}", "zz-sixtykey.conf",
        "ExecStart=/usr/sbin/sshd -D $SSHD_OPTS", "restart ssh.service",
    ):  # fmt: skip
        assert words in said
    assert snapshot(etc) == before


def test_a_unit_is_overridden_and_left_again(etc: Etc) -> None:
    """A command in Ubuntu's unit is overridden by a drop-in that keeps all other options."""
    ubuntu(etc)
    before = snapshot(etc)
    assert etc.run("enable") == 3
    assert etc.run("enable", "--replace") == 0
    assert ours(etc)
    assert given_by_option(str(etc.folder)) == []
    override = etc.folder / "etc/systemd/system/ssh.service.d/zz-sixtykey.conf"
    lines = override.read_text().splitlines()
    assert lines[1:] == ["[Service]", "ExecStart=", "ExecStart=/usr/sbin/sshd -D $SSHD_OPTS"]
    assert etc.run("enable", "--replace") == 0
    assert etc.run("disable") == 0
    left = {name for name in snapshot(etc) if "ssh.service.d" in name}
    assert left == {name for name in before if "ssh.service.d" in name}


def test_a_drop_in_that_comes_later_keeps_sshd_as_it_was(
    etc: Etc, capsys: pytest.CaptureFixture[str]
) -> None:
    """If a later drop-in would override ours, `enable` fails and every file is restored."""
    ubuntu(etc)
    folder = etc.folder / FOLDER / "ssh.service.d"
    (folder / "ec2-instance-connect.conf").rename(folder / "zzz.conf")
    before = snapshot(etc)
    assert etc.run("enable", "--replace") == 1
    assert "zzz.conf:3" in capsys.readouterr().err
    assert {n: v for n, v in snapshot(etc).items() if not n.startswith("etc")} == before


def test_a_unit_and_files_can_be_chained(etc: Etc) -> None:
    """A command in a unit can be chained: ours runs first, then that one with its own user."""
    ubuntu(etc, AWS_DROP_IN.replace('ec2-instance-connect"', 'root"'))
    assert etc.run("enable", "--chain") == 0
    said = etc.sshd.effective()
    assert said["authorizedkeyscommand"] == f'{HELPER} --chain "{AWS}" %u %f'
    assert said["authorizedkeyscommanduser"] == "root"
    assert given_by_option(str(etc.folder)) == []


def test_chaining_works_without_include(etc: Etc) -> None:
    """With --chain, AWS's lines stay below ours, and are in force again after `disable`."""
    without_include(etc, AWS_LINES.replace("ec2-instance-connect\n", "root\n"))
    before = snapshot(etc)
    assert etc.run("enable", "--chain") == 0
    said = etc.sshd.effective()
    assert said["authorizedkeyscommand"] == f'{HELPER} --chain "{AWS}" %u %f'
    assert etc.run("disable") == 0
    assert snapshot(etc) == before


def test_a_proof_that_fails_puts_everything_back(
    etc: Etc, capsys: pytest.CaptureFixture[str]
) -> None:
    """If a drop-in before ours overrides it, `enable` fails and AWS's lines are restored."""
    (etc.drop_in.parent / "05-other.conf").write_text("AuthorizedKeysCommand /usr/bin/false\n")
    etc.write("")
    etc.config.write_text(etc.config.read_text() + AWS_LINES)
    before = snapshot(etc)
    assert etc.run("enable", "--replace") == 1
    assert "authorizedkeyscommand /usr/bin/false" in capsys.readouterr().err
    assert snapshot(etc) == before


@pytest.mark.parametrize("where", ["Match block", "command line"])
def test_commands_of_others_are_reported_and_left(
    etc: Etc, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command in a Match block, or in an administrator's options, is reported and left."""
    if where == "Match block":
        etc.config.write_text(etc.config.read_text() + f"Match User bob\n{AWS_LINES}")
    else:
        (etc.folder / "etc/default").mkdir(parents=True)
        option = 'SSHD_OPTS="-o AuthorizedKeysCommand=/x"\n'
        (etc.folder / "etc/default/ssh").write_text(option)
    before = snapshot(etc)
    assert etc.run("enable") == 3
    assert "Ours cannot replace it" in capsys.readouterr().err
    assert etc.run("enable", "--replace") == 1
    assert snapshot(etc) == before


def test_changes_by_others_in_the_meantime_stay(etc: Etc) -> None:
    """Lines that others have added since are kept by `disable`, and so is the copy."""
    without_include(etc, AWS_LINES)
    original = etc.config.read_bytes().decode()
    assert etc.run("enable", "--replace") == 0
    etc.config.write_bytes(b"MaxAuthTries 3\n" + etc.config.read_bytes())
    assert etc.run("disable") == 0
    assert etc.config.read_bytes().decode() == f"MaxAuthTries 3\n{original}"
    copy = etc.folder / "sshd_config.before-sixtykey"
    assert copy.read_bytes().decode() == original


def test_a_command_written_above_ours_is_replaced_again(
    etc: Etc, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lines that a package writes above ours again are reported, and replaced on request."""
    without_include(etc, AWS_LINES)
    original = etc.config.read_bytes().decode()
    assert etc.run("enable", "--replace") == 0
    below = etc.config.read_bytes().decode()
    etc.config.write_bytes((AWS_LINES + below).encode())
    assert etc.run("enable") == 3
    assert f"{etc.config}:1: {AWS} %u %f" in capsys.readouterr().err
    assert not ours(etc)
    assert etc.run("enable", "--replace") == 0
    assert ours(etc)
    assert etc.run("disable") == 0
    assert etc.config.read_bytes().decode() == AWS_LINES + original


def test_a_drop_in_that_comes_first_is_not_reported_as_ours(etc: Etc) -> None:
    """If another drop-in names a command first, sshd-setup does not say that ours runs."""
    assert etc.run("enable") == 0
    (etc.drop_in.parent / "05-aws.conf").write_text(AWS_LINES)
    before = snapshot(etc)
    assert (etc.run("enable"), etc.run("enable", "--replace")) == (3, 1)
    assert snapshot(etc) == before


@pytest.mark.parametrize(
    ("command", "rest", "command_of", "user"),
    [
        ("/usr/sbin/sshd -D $SSHD_OPTS", "/usr/sbin/sshd -D $SSHD_OPTS", "", ""),
        ("-/usr/sbin/sshd -oAuthorizedKeysCommand=/x -i", "-/usr/sbin/sshd -i", "/x", ""),
        ("sshd -o 'authorizedkeyscommand /x %%u' -D", "sshd -D", "/x %u", ""),
        ('sshd -o Port=22 -o "AuthorizedKeysCommandUser a" -e', "sshd -o Port=22 -e", "", "a"),
        ('sshd -o "Banner /a b" -o AuthorizedKeysFile=none', 'sshd -o "Banner /a b" '
         "-o AuthorizedKeysFile=none", "", ""),
        ("sshd -D -o", "sshd -D -o", "", ""),
    ],
)  # fmt: skip
def test_options_are_taken_out_of_a_command_line(
    command: str, rest: str, command_of: str, user: str
) -> None:
    """Both options are removed in every spelling of sshd; all others stay as they are."""
    assert units.split_options(command) == (command_of, user, rest)


def test_units_are_read_as_systemd_reads_them(tmp_path: Path) -> None:
    """Units are read like systemd does: resets, overriding files in /etc, aliases."""
    ubuntu(Etc(tmp_path))
    assert [line.unit for line in given_by_option(str(tmp_path))] == ["ssh.service"]
    hiding = tmp_path / "etc/systemd/system/ssh.service.d/ec2-instance-connect.conf"
    hiding.parent.mkdir(parents=True)
    hiding.write_text("[Service]\n")
    (hiding.parent.parent / "sshd.service").symlink_to(tmp_path / FOLDER / "ssh.service")
    assert given_by_option(str(tmp_path)) == []
    hiding.write_text("[Service]\nExecStart=\nExecStart=/sshd \\\n -o AuthorizedKeysCommand=/y\n")
    assert [line.where for line in given_by_option(str(tmp_path))] == [f"{hiding}:3"]
    (hiding.parent / "zz-sixtykey.conf").write_text(units.override(str(tmp_path), "ssh.service")[1])
    assert given_by_option(str(tmp_path)) == []
