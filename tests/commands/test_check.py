"""sixtykey check: nothing on a good host; every planted fault by name, with what to do about it.

The host is this one, with a throw-away configuration of sshd that the real sshd -T reads.
"""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.parts.checked_host import CheckedHost
from tests.parts.command import run, run_as
from tests.parts.daemon import RunningDaemon
from tests.parts.host import IS_ROOT, helper_user, os_user, tool, work_directory
from tests.parts.keys import make_key
from tests.parts.sshd import helper_command

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="only root can look everywhere")


def test_a_good_host_has_no_finding(host: CheckedHost) -> None:
    """On a good host there is no finding, the exit code is 0, and nothing is changed."""
    before = {p: (p.stat().st_mtime_ns, p.stat().st_mode) for p in host.folder.glob("*.yaml")}
    assert host.finds(host.user) == {}
    assert host.finds() == {}
    done = host.check(host.user)
    assert done.out.splitlines()[-1] == f"nothing wrong: with a pushed key, {host.user} can log in"
    assert before == {p: (p.stat().st_mtime_ns, p.stat().st_mode) for p in before}
    assert run("status", "--json", "--socket", host.daemon.push_socket).json["Counters"].get(
        "lookup"
    ) is None  # fmt: skip


def test_strict_counts_notes(host: CheckedHost) -> None:
    """A host with only notes gives the exit code 1 with --strict."""
    path = host.folder / "members.yaml"
    path.write_text(host.daemon.config_file.read_text().replace("group: root", "group: nogroup"))
    subprocess.run(["groupadd", "-f", "nogroup"], check=True)
    assert host.finds(config=path)["push-group-members"]["Severity"] == "note"
    assert host.check("--strict", config=path).code == 1


def test_a_wrong_configuration_is_reported(host: CheckedHost) -> None:
    """Every problem of the configuration is a finding."""
    path = host.folder / "wrong.yaml"
    path.write_text("keys: {lifetime: 61}\nelse: 1\n")
    found = host.check("--json", config=path).json["Findings"]
    said = [f["What"] for f in found if f["Name"] == "configuration-wrong"]
    assert len(said) == 2
    assert any("keys.lifetime" in each for each in said)


def test_credentials_that_others_can_read(restored: CheckedHost) -> None:
    """A credentials file that others can read is a finding, with the command to mend it."""
    restored.daemon.credentials_file.chmod(0o644)
    finding = restored.finds()["credentials-mode"]
    assert "mode 0644" in finding["What"]
    assert "chmod 0640" in finding["Remedy"]


def test_wrong_and_missing_credentials_are_reported(restored: CheckedHost) -> None:
    """A credentials file that is wrong, empty or missing is a finding."""
    path = restored.daemon.credentials_file
    path.write_text("- access_key_id: AAAA\n")
    assert "[0].allow.os_users: required" in restored.finds()["credentials-wrong"]["What"]
    path.write_text("[]\n")
    assert "credentials add" in restored.finds()["credentials-none"]["Remedy"]
    path.rename(path.with_suffix(".away"))
    try:
        assert "credentials add" in restored.finds()["credentials-missing"]["Remedy"]
    finally:
        path.with_suffix(".away").rename(path)


def test_a_lookup_socket_closed_to_the_helper_is_reported(restored: CheckedHost) -> None:
    """The lookup socket is tried as the helper's user, and a socket closed to it is found."""
    os.chown(restored.daemon.lookup_socket, 0, 0)
    os.chmod(restored.daemon.lookup_socket, 0o660)
    finding = restored.finds()["lookup-socket-forbidden"]
    assert helper_user() in finding["What"]
    assert "lookup.group" in finding["Remedy"]


def test_the_helpers_own_socket_is_checked(host: CheckedHost) -> None:
    """A socket given to the helper with --socket is checked, and not the configured one."""
    lines = [f"AuthorizedKeysCommand {host.helper} --socket /nonexistent/lookup.sock %u %f"]
    finding = host.finds(sshd=host.sshd(*lines, host.asking[1]))["lookup-socket-away"]
    assert "/nonexistent/lookup.sock: No such file" in finding["What"]
    assert "sixtykeyd-lookup.socket" in finding["Remedy"]


def test_an_absent_daemon_gives_two_findings() -> None:
    """A daemon that is away gives exactly two findings: the daemon and its lookup socket."""
    with work_directory() as folder, helper_command() as helper:
        make_key(folder, "host_key")
        daemon = RunningDaemon(folder, config={"push": {"group": "root"}})
        with daemon:
            pass
        found = CheckedHost(daemon, folder, helper, "root").finds()
    assert set(found) == {"daemon-away", "lookup-socket-away"}
    assert "systemctl status sixtykeyd" in found["daemon-away"]["Remedy"]


@pytest.mark.parametrize(
    ("options", "name", "remedy"),
    [
        (["--password", "!"], "account-locked", "usermod --password '*'"),
        (["--shell", "/nonexistent/shell"], "shell-missing", "usermod --shell"),
        (["--shell", "/usr/sbin/nologin"], "shell-nologin", "usermod --shell"),
        (["--shell", "/usr/bin/env"], "shell-not-listed", "pam_shells"),
        (["--expiredate", "2020-01-01"], "account-expired", "chage --expiredate -1"),
    ],
)
def test_an_account_that_cannot_log_in_is_reported(
    host: CheckedHost, options: list[str], name: str, remedy: str
) -> None:
    """An account that keeps its user out is a finding, with the command to mend it."""
    with os_user() as spoilt:
        subprocess.run([tool("usermod", "passwd"), *options, spoilt], check=True)
        finding = host.finds(spoilt)[name]
    assert remedy in finding["Remedy"]
    assert spoilt in finding["What"]


def test_an_unknown_user_is_a_finding(host: CheckedHost) -> None:
    """A user unknown to the host is a finding."""
    assert "useradd" in host.finds("no-such-user")["user-unknown"]["Remedy"]


def test_a_journal_in_a_missing_folder_is_a_finding(host: CheckedHost) -> None:
    """A configured journal whose folder is missing is a finding."""
    path = host.folder / "journal.yaml"
    text = host.daemon.config_file.read_text()
    assert "leases.db" in text
    path.write_text(text.replace(f"{host.folder}/leases.db", f"{host.folder}/missing/leases.db"))
    assert "journal-unwritable" in host.finds(config=path)


def test_an_ordinary_user_sees_what_could_not_be_checked(host: CheckedHost) -> None:
    """An ordinary user gets the exit code 2, and `?` for what only root can see."""
    sshd = host.sshd(*host.asking)
    os.chmod(host.folder / "host_key", 0o600)
    words = ("check", host.user, "--config", str(host.daemon.config_file), "--sshd-config")
    done = run_as(host.user, *words, str(sshd))
    assert done.code == 2, done
    assert "Traceback" not in done.err
    assert "?     push-socket: you may not connect to" in done.out
    assert "run it as root" in done.out
