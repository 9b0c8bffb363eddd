"""sixtykey check on sshd: what sshd -T gives for a login, and which helper it runs."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from agent.commands.checks.finding import THIS_HOST
from agent.commands.checks.sshd import logins
from tests.parts.checked_host import CheckedHost
from tests.parts.host import IS_ROOT
from tests.parts.sshd import HELPER, Install, install_compiled, install_helper

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="only root can look everywhere")


def test_without_a_command_both_lines_are_advised(host: CheckedHost) -> None:
    """Without an AuthorizedKeysCommand, both missing lines are in the advice."""
    remedy = host.finds(sshd=host.sshd())["sshd-not-asking"]["Remedy"]
    assert "AuthorizedKeysCommand /usr/lib/sixtykey/authorized-keys %u %f" in remedy
    assert "AuthorizedKeysCommandUser" in remedy


OTHER = ["AuthorizedKeysCommand /usr/bin/userdbctl ssh-authorized-keys %u",
         "AuthorizedKeysCommandUser root"]  # fmt: skip


def test_the_slot_is_taken_in_the_main_file(host: CheckedHost) -> None:
    """Another AuthorizedKeysCommand in the main file is found, with its line and `--chain`."""
    path = host.sshd(*OTHER, *host.asking)
    finding = host.finds(sshd=path)["slot-taken"]
    assert "userdbctl ssh-authorized-keys %u" in finding["What"]
    assert f"{path}:3" in finding["What"]
    assert "--chain" in finding["Remedy"]


def test_the_slot_is_taken_in_a_drop_in(host: CheckedHost) -> None:
    """Another AuthorizedKeysCommand in a drop-in is found, with the drop-in's line."""
    drop_in = host.folder / "sshd_config.d" / "20-systemd-userdb.conf"
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text("\n".join(OTHER) + "\n")
    try:
        path = host.sshd(f"Include {drop_in.parent}/*.conf", *host.asking)
        assert f"{drop_in}:1" in host.finds(sshd=path)["slot-taken"]["What"]
    finally:
        drop_in.unlink()


def test_the_slot_is_taken_in_a_match_block(host: CheckedHost) -> None:
    """Another AuthorizedKeysCommand in a Match block is found only for the users it matches."""
    path = host.sshd(*host.asking, f"Match User {host.user}", *OTHER)
    assert "slot-taken" not in host.finds("root", sshd=path)
    what = host.finds(host.user, sshd=path)["slot-taken"]["What"]
    assert f"{path}:6, Match User {host.user}" in what


def test_a_match_block_on_the_address_is_taken_into_account(host: CheckedHost) -> None:
    """With --from, a Match block on the client's address is taken into account."""
    path = host.sshd(*host.asking, "Match Address 10.0.0.0/8", "AuthorizedKeysCommand none")
    assert host.finds(sshd=path) == {}
    finding = host.finds("--from", "10.1.2.3", sshd=path)["slot-emptied"]
    assert "Match Address 10.0.0.0/8" in finding["What"]


def test_a_drop_in_that_is_not_included(host: CheckedHost) -> None:
    """A drop-in that sshd_config does not include is found, as on Amazon Linux 2023."""
    drop_in = host.folder / "sshd_config.d" / "10-sixtykey.conf"
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text("\n".join(host.asking) + "\n")
    try:
        finding = host.finds(sshd=host.sshd())["include-missing"]
        assert str(drop_in) in finding["What"]
        assert f"Include {drop_in.parent}/*.conf" in finding["Remedy"]
        included = host.sshd(f"Include {drop_in.parent}/*.conf")
        assert host.finds(sshd=included) == {}
    finally:
        drop_in.unlink()


def test_a_helper_that_others_could_change_is_reported(host: CheckedHost) -> None:
    """A helper below a folder that others can write to is found, up to the root folder."""
    folder = host.folder / "open"
    folder.mkdir()
    folder.chmod(0o777)
    copy = folder / "authorized-keys"
    shutil.copyfile(HELPER, copy)
    copy.chmod(0o755)
    path = host.sshd(f"AuthorizedKeysCommand {copy} %u %f", host.asking[1])
    done = host.check("--json", sshd=path).json["Findings"]
    wrong = [f["What"] for f in done if f["Name"] == "helper-ownership"]
    assert any(f"may change {folder} (uid 0, mode 0777)" in each for each in wrong)
    assert any("may change /tmp (" in each for each in wrong)


@pytest.mark.parametrize(
    ("install", "form"),
    [(install_compiled, "the compiled helper"), (install_helper, "the helper in Python")],
)
def test_the_form_of_the_helper_is_shown(
    host: CheckedHost, tmp_path: Path, install: Install, form: str
) -> None:
    """The form of the helper that sshd runs is shown as a fact, also in a chain."""
    helper = install(tmp_path)
    said = f"sshd runs {form}: {helper}"
    for command in (f"{helper} %u %f", f'{helper} --chain "/usr/bin/true" %u %f'):
        path = host.sshd(f"AuthorizedKeysCommand {command}", host.asking[1])
        done = host.check("--json", sshd=path).json
        assert done["Facts"] == [{"Name": "helper-form", "What": said}]
        assert "helper-form" not in {finding["Name"] for finding in done["Findings"]}
        assert host.check(sshd=path).out.splitlines()[0] == said
    nobody = host.check("--json", sshd=host.sshd()).json
    assert nobody["Facts"] == []


@pytest.mark.parametrize(
    ("lines", "name", "remedy"),
    [
        (["AuthorizedKeysCommand /nonexistent/authorized-keys %u %f", "{1}"], "helper-missing",
         "install the package again"),
        (["AuthorizedKeysCommand {helper} --socket {socket}", "{1}"], "helper-arguments", "%u %f"),
        (["{0}", "AuthorizedKeysCommandUser nobody-here"], "helper-user-unknown",
         "AuthorizedKeysCommandUser sixtykey-lookup"),
        (["{0}", "{1}", "PubkeyAuthentication no"], "pubkey-off", "PubkeyAuthentication yes"),
        (["{0}", "{1}", "AuthenticationMethods publickey,password"], "key-not-enough",
         "AuthenticationMethods any"),
        (["{0}", "{1}", "AuthenticationMethods keyboard-interactive"], "key-not-enough",
         "AuthenticationMethods any"),
        (["{0}", "{1}", "DenyUsers sixty-*"], "user-not-admitted", "change DenyUsers"),
        (["{0}", "{1}", "AllowUsers root admin"], "user-not-admitted", "change AllowUsers"),
        (["{0}", "{1}", "AllowGroups nobody-here"], "user-not-admitted", "change AllowGroups"),
        (["{0}", "{1}", "PubkeyAcceptedAlgorithms ecdsa-sha2-nistp256"], "key-types-refused",
         "keys.types"),
        (["Frobnicate yes"], "sshd-config-wrong", "before sshd is restarted"),
    ],
    ids=lambda value: value if isinstance(value, str) and "-" in value else "",
)  # fmt: skip
def test_every_setting_of_sshd_that_refuses_a_key_is_found(
    host: CheckedHost, lines: list[str], name: str, remedy: str
) -> None:
    """Each setting of sshd that would refuse a pushed key is a finding."""
    names = {"helper": host.helper, "socket": host.daemon.lookup_socket}
    path = host.sshd(*(line.format(*host.asking, **names) for line in lines))
    assert remedy in host.finds(host.user, sshd=path)[name]["Remedy"]


def test_a_helper_without_its_user_is_reported(host: CheckedHost) -> None:
    """A missing AuthorizedKeysCommandUser is a finding."""
    found = host.finds(sshd=host.sshd(host.asking[0]))
    assert set(found) & {"helper-user-missing", "sshd-config-wrong"}
    assert "AuthorizedKeysCommandUser" in str(found)


def test_a_command_on_sshds_command_line_is_reported(tmp_path: Path) -> None:
    """An AuthorizedKeysCommand on sshd's command line in its unit is found."""
    unit = tmp_path / "usr/lib/systemd/system/ssh.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/usr/sbin/sshd -D -o AuthorizedKeysCommand=/x\n")
    here = dataclasses.replace(THIS_HOST, root=str(tmp_path), sshd_config="/dev/null")
    ours = {"authorizedkeyscommand": "/usr/lib/sixtykey/authorized-keys %u %f"}
    found = [finding for finding in logins(ours, None, here) if finding.name == "slot-taken"]
    assert f"{unit}:2" in found[0].what
    assert "--replace" in found[0].remedy
