"""`sixtykey check` on clock, SELinux, accounts and file owners, from files of the test."""

from __future__ import annotations

import dataclasses
import pwd
import time
from pathlib import Path

import pytest

from agent.commands.checks import account, files, host
from agent.commands.checks.finding import THIS_HOST, Host
from agent.config.settings import Config, Http, Push
from tests.parts.host import IS_ROOT, own_name
from tests.parts.sshd_options import RUNNING, give_option

DENIAL = (
    "type=AVC msg=audit({when}.123:42): avc:  denied  {{ connectto }} for pid=7 "
    'comm="authorized-keys" path="/run/sixtykey/lookup.sock" scontext=system_u:system_r:sshd_t:s0'
)


def selinux(tmp_path: Path, enforce: str, *lines: str) -> Host:
    """A host with this mode of SELinux and these lines in its audit log."""
    (tmp_path / "enforce").write_text(enforce)
    (tmp_path / "audit.log").write_text("".join(f"{line}\n" for line in lines))
    return dataclasses.replace(
        THIS_HOST,
        selinux_enforce=str(tmp_path / "enforce"),
        audit_log=str(tmp_path / "audit.log"),
    )


def test_recent_denials_of_the_helper_are_reported_while_selinux_enforces(tmp_path: Path) -> None:
    """A recent SELinux denial of the helper is shown while SELinux enforces."""
    now = int(time.time())
    (finding,) = host.selinux(selinux(tmp_path, "1", DENIAL.format(when=now - 60)))
    assert finding.name == "selinux-denials"
    assert 'comm="authorized-keys"' in finding.what
    assert "semodule" in finding.remedy


@pytest.mark.parametrize(
    ("enforce", "line"),
    [
        ("0", DENIAL.format(when=int(time.time()))),
        ("1", DENIAL.format(when=1_000_000)),
        ("1", DENIAL.format(when=int(time.time())).replace("authorized-keys", "x").replace(
            "sixtykey", "y")),
        ("1", ""),
    ],
    ids=["permissive", "long ago", "of others", "none"],
)  # fmt: skip
def test_other_denials_are_no_finding(tmp_path: Path, enforce: str, line: str) -> None:
    """Denials in permissive mode, old ones and those of other programs give no finding."""
    assert host.selinux(selinux(tmp_path, enforce, line)) == []


def test_a_host_without_selinux_has_no_finding(tmp_path: Path) -> None:
    """A host without SELinux gives no finding."""
    nowhere = dataclasses.replace(THIS_HOST, selinux_enforce=str(tmp_path / "nothing"))
    assert host.selinux(nowhere) == []


@pytest.mark.parametrize(("stepped", "told"), [(3600.0, True), (-901.0, True), (30.0, False)])
def test_a_stepped_clock_is_reported(stepped: float, told: bool) -> None:
    """A clock that was stepped by more than signatures allow is a finding; less is none."""
    names = [finding.name for finding in host.clock({"ClockStepped": stepped})]
    assert ("clock-stepped" in names) == told


def shadow(tmp_path: Path, line: str) -> Host:
    """A host whose shadow file has this line."""
    path = tmp_path / "shadow"
    path.write_text(f"root:*:1::::::\n{line}\n")
    return dataclasses.replace(THIS_HOST, shadow=str(path), nologin=())


@pytest.mark.parametrize(
    ("password", "use_pam", "locked"),
    [("!", "no", True), ("!$6$x", "no", True), ("!", "yes", False), ("*", "no", False)],
)
def test_locked_where_sshd_takes_it_for_locked(
    tmp_path: Path, password: str, use_pam: str, locked: bool
) -> None:
    """An account with `!` as its password is locked only when UsePAM is no.

    With PAM, or with `*`, sshd asks for keys as usual (auth.c, sshd 9.2).
    """
    name = own_name()
    laid_out = shadow(tmp_path, f"{name}:{password}:1:0:99999:7:::")
    if name == "root":
        (tmp_path / "shadow").write_text(f"root:{password}:1:0:99999:7:::\n")
    names = {each.name for each in account.account(name, {"usepam": use_pam}, laid_out)}
    assert ("account-locked" in names) == locked


@pytest.mark.skipif(not IS_ROOT, reason="only root's sshd counts")
def test_an_option_of_sshd_makes_it_take_an_account_for_locked(tmp_path: Path) -> None:
    """With `-o UsePAM=no` on sshd's command line, an account with `!` as its password is locked."""
    host = dataclasses.replace(shadow(tmp_path, "x:*:1::::::"), root=str(tmp_path))
    (tmp_path / "shadow").write_text(f"{own_name()}:!:1:0:99999:7:::\n")
    settings = {"usepam": "yes"}
    assert "account-locked" not in {e.name for e in account.account(own_name(), settings, host)}
    give_option(tmp_path, RUNNING, "UsePAM=no")
    assert "account-locked" in {e.name for e in account.account(own_name(), settings, host)}


def test_nologin_shuts_out_all_but_root(tmp_path: Path) -> None:
    """A nologin file is a finding for every user but root."""
    (tmp_path / "nologin").touch()
    shut = dataclasses.replace(THIS_HOST, nologin=(str(tmp_path / "nologin"),))
    assert "nologin-file" in {each.name for each in account.account("nobody", {}, shut)}
    assert "nologin-file" not in {each.name for each in account.account("root", {}, shut)}


def test_credentials_unreadable_for_the_daemon_are_a_finding(tmp_path: Path) -> None:
    """A credentials file that the daemon's user cannot read is a finding."""
    path = tmp_path / "credentials.yaml"
    path.write_text("[]")
    path.chmod(0o600)
    config = Config(push=Push(http=Http(), credentials=str(path)))
    names = {each.name for each in files.credentials(config, pwd.getpwnam("daemon"))}
    assert "credentials-owner" in names


def test_a_journal_in_an_unwritable_folder_is_a_finding(tmp_path: Path) -> None:
    """A journal's folder that the daemon's user cannot write to is a finding."""
    tmp_path.chmod(0o755)
    config = Config(journal=str(tmp_path / "leases.db"))
    (finding,) = files.journal(config, pwd.getpwnam("daemon"))
    assert finding.name == "journal-unwritable"
    assert files.journal(Config(journal=None), pwd.getpwnam("daemon")) == []
