"""`sixtykey check` on hosts with one-time keys: the line in PAM's file and sshd's settings."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import pytest

from agent.commands.checks.finding import THIS_HOST
from agent.commands.checks.one_time import one_time
from agent.config.settings import Config, Fleet, Http, Keys, Push
from agent.sshd_files.pam_file import LINE, PROGRAM
from tests.parts.host import IS_ROOT
from tests.parts.pam_host import DEBIAN, at, lay_out, with_line
from tests.parts.sshd_options import BY_OPTION, RUNNING, give_option

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="pam-account has to be root's")
ONCE, ORDINARY = Config(keys=Keys(uses="once")), Config()
ASKS = {"usepam": "yes"}


def findings_of(
    root: Path, stack: str, config: Config = ONCE, settings: dict[str, str] = ASKS
) -> dict[str, str]:
    """The severity of each finding on a host with this stack, by name."""
    lay_out(root, stack)
    host = dataclasses.replace(THIS_HOST, root=str(root))
    return {finding.name: finding.severity for finding in one_time(config, settings, host)}


def test_a_host_that_holds_logins_to_it(tmp_path: Path) -> None:
    """A host set up for one-time keys gives no finding, nor does one without such keys."""
    assert findings_of(tmp_path, with_line(DEBIAN)) == {}
    assert findings_of(tmp_path, with_line(DEBIAN), ORDINARY) == {}
    assert findings_of(tmp_path, DEBIAN, ORDINARY, {"usepam": "no"}) == {}


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        (DEBIAN, {"pam-line-missing": "fault"}),
        (f"{DEBIAN}{LINE}\n", {"pam-line-misplaced": "fault"}),
        (with_line(DEBIAN, f"{LINE}\n{LINE}"), {"pam-line-doubled": "note"}),
        (with_line(DEBIAN, LINE.replace("required", "optional")), {"pam-line-wrong": "fault"}),
    ],
    ids=["missing", "misplaced", "doubled", "wrong"],
)
def test_a_line_that_does_not_do_its_work(
    tmp_path: Path, stack: str, expected: dict[str, str]
) -> None:
    """A missing, misplaced or wrong line is a fault, and a doubled one a note."""
    assert findings_of(tmp_path, stack) == expected


def test_a_line_that_nobody_needs_is_a_note(tmp_path: Path) -> None:
    """A misplaced line is only a note on a host without one-time keys."""
    assert findings_of(tmp_path, f"{DEBIAN}{LINE}\n", ORDINARY) == {"pam-line-misplaced": "note"}


def test_a_line_whose_program_is_gone_keeps_everybody_out(tmp_path: Path) -> None:
    """A line whose program is missing is a finding, even on a host without one-time keys."""
    lay_out(tmp_path)
    at(tmp_path, PROGRAM).unlink()
    at(tmp_path, "/etc/pam.d/sshd").write_text(with_line(DEBIAN))
    host = dataclasses.replace(THIS_HOST, root=str(tmp_path))
    (finding,) = one_time(ORDINARY, ASKS, host)
    assert finding.name == "pam-program-wrong"
    assert "PAM refuses every login" in finding.what


def test_an_sshd_that_does_not_ask_pam(tmp_path: Path) -> None:
    """An sshd that does not ask PAM after the key, or uses another PAM file, is a fault."""
    assert findings_of(tmp_path, with_line(DEBIAN), settings={"usepam": "no"}) == {
        "pam-off": "fault"
    }
    steps = {"usepam": "yes", "authenticationmethods": "keyboard-interactive:pam,publickey"}
    assert findings_of(tmp_path, with_line(DEBIAN), settings=steps) == {"pam-before-key": "fault"}
    settings = {"usepam": "yes", "pamservicename": "other"}
    assert findings_of(tmp_path, with_line(DEBIAN), settings=settings) == {"pam-service": "fault"}


def test_an_sshd_whose_command_line_turns_pam_off(tmp_path: Path) -> None:
    """`-o UsePAM=no` in sshd's unit, in its file of options or of a running sshd is a fault."""
    for place in BY_OPTION:
        lay_out(root := tmp_path / place.replace("/", "-"), with_line(DEBIAN))
        give_option(root, place, "UsePAM=no")
        host = dataclasses.replace(THIS_HOST, root=str(root))
        (finding,) = one_time(ONCE, ASKS, host)
        assert (finding.name, finding.severity) == ("pam-off", "fault")
        assert "UsePAM no by -o" in finding.what.replace("=", " ")
        assert list(one_time(ORDINARY, ASKS, host)) == []


def test_a_separate_sshd_is_no_concern(tmp_path: Path) -> None:
    """A running sshd with another configuration file, or of another user, is not considered."""
    lay_out(tmp_path, with_line(DEBIAN))
    give_option(tmp_path, RUNNING, "UsePAM=no -f /srv/other")
    assert findings_of(tmp_path, with_line(DEBIAN)) == {}
    os.chown(give_option(tmp_path, RUNNING, "UsePAM=no").parent, 65534, 65534)
    assert findings_of(tmp_path, with_line(DEBIAN)) == {}


def test_a_member_of_a_fleet_that_refuses_one_time_keys(tmp_path: Path) -> None:
    """A fleet's member that refuses keys for one login has a note that says so, and why."""
    member = Config(fleet=Fleet((), ()))
    lay_out(tmp_path)
    host = dataclasses.replace(THIS_HOST, root=str(tmp_path))
    (finding,) = one_time(member, ASKS, host)
    assert (finding.name, finding.severity) == ("one-time-refused", "note")
    assert "refused: /etc/pam.d/sshd has no line" in finding.what
    assert finding.remedy.endswith("sshd-setup enable --one-time")
    assert findings_of(tmp_path, with_line(DEBIAN), member) == {}
    give_option(tmp_path, "etc/default/ssh", "UsePAM=no")
    assert findings_of(tmp_path, with_line(DEBIAN), member) == {"one-time-refused": "note"}


def test_one_credential_is_enough(tmp_path: Path) -> None:
    """One credential with one-time keys makes the line necessary, while push.http is on."""
    credentials = tmp_path / "credentials.yaml"
    credentials.write_text(
        "- access_key_id: SIXTYKEYEXAMPLE00001\n"
        "  secret_access_key: an-example-that-nobody-should-ever-use\n"
        "  allow: {os_users: [deploy]}\n"
        "  keys: {uses: once}\n"
    )
    credentials.chmod(0o600)
    config = Config(push=Push(http=Http(), credentials=str(credentials)))
    assert findings_of(tmp_path, DEBIAN, config) == {"pam-line-missing": "fault"}
    config = dataclasses.replace(config, push=Push(http=None, credentials=str(credentials)))
    assert findings_of(tmp_path, DEBIAN, config) == {}


def test_files_that_cannot_be_followed_are_reported(tmp_path: Path) -> None:
    """PAM files include each other are reported as unknown."""
    assert findings_of(tmp_path, "@include sshd\n") == {"pam-unreadable": "unknown"}
    shutil.rmtree(at(tmp_path, "/etc/pam.d"))
