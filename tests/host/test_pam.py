"""Whether a host can enforce one-time keys, and what is reported if not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.config.document import Problems
from agent.host.pam import check_one_time
from agent.sshd_files.pam_file import LINE, PROGRAM
from tests.parts.host import IS_ROOT, work_directory
from tests.parts.pam_host import DEBIAN, STACKS, at, lay_out, with_line
from tests.parts.sshd_options import BY_OPTION, RUNNING, give_option

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="pam-account has to be root's")


def problems(root: Path) -> str:
    """The problems of a host that cannot enforce one-time keys."""
    with pytest.raises(Problems) as raised:
        check_one_time(str(root))
    return str(raised.value)


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_a_host_that_can_limit_logins_passes(tmp_path: Path, stack: str) -> None:
    """A host with the line, once or twice, the program and UsePAM passes the check."""
    lay_out(tmp_path, with_line(stack))
    check_one_time(str(tmp_path))
    lay_out(tmp_path, with_line(stack, f"{LINE}\n{LINE}"))
    check_one_time(str(tmp_path))


def test_a_missing_program_and_pam_file_are_reported_together(tmp_path: Path) -> None:
    """A missing program and a missing PAM file are reported together; UsePAM is not."""
    said = problems(tmp_path)
    assert "pam-account: No such file" in said
    assert "pam.d/sshd: No such file" in said
    assert "UsePAM" not in said


def test_a_missing_line_is_reported_with_its_command(tmp_path: Path) -> None:
    """A missing line is reported with the command that adds it."""
    lay_out(tmp_path)
    assert f"has no line `{LINE}`: run /usr/lib/sixtykey/sshd-setup enable" in problems(tmp_path)


def test_a_line_after_the_end_of_the_phase(tmp_path: Path) -> None:
    """A line that some logins would not reach is reported."""
    lay_out(tmp_path, f"{DEBIAN}{LINE}\n")
    assert "common-account:1 may end the phase" in problems(tmp_path)


@pytest.mark.parametrize(("mode", "uid"), [(0o644, 0), (0o775, 0), (0o757, 0), (0o755, 65534)])
def test_a_program_that_is_not_roots_alone(tmp_path: Path, mode: int, uid: int) -> None:
    """A pam-account that is not executable, or that others than root can change, is refused."""
    lay_out(tmp_path, with_line(DEBIAN))
    at(tmp_path, PROGRAM).chmod(mode)
    os.chown(at(tmp_path, PROGRAM), uid, -1)
    assert "pam-account" in problems(tmp_path)


@pytest.mark.parametrize(
    "config",
    ["UsePAM no\n", "usepam = no\nUsePAM yes\n", "", "# UsePAM yes\n", "Port 22\n",
     "UsePAM yes\nPAMServiceName other\n"],
)  # fmt: skip
def test_an_sshd_without_pam_is_reported(tmp_path: Path, config: str) -> None:
    """An sshd with UsePAM off, by setting or default, or another PAM service is reported."""
    lay_out(tmp_path, with_line(DEBIAN))
    at(tmp_path, "/etc/ssh/sshd_config").write_text(config)
    assert "PAM" in problems(tmp_path)


@pytest.mark.parametrize("place", BY_OPTION)
@pytest.mark.parametrize(
    ("option", "said"),
    [("UsePAM=no", "UsePAM no"), ('"UsePAM no"', "UsePAM no"), ("usepam=No", "UsePAM No"),
     ("PAMServiceName=other", "service other"),
     ('"AuthenticationMethods publickey keyboard-interactive,publickey"',
      "AuthenticationMethods keyboard-interactive,publickey")],
)  # fmt: skip
def test_an_sshd_without_pam_by_its_command_line_is_reported(
    tmp_path: Path, place: str, option: str, said: str
) -> None:
    """What `-o` sets on sshd's command line is reported: it overrides sshd_config."""
    lay_out(tmp_path, with_line(DEBIAN))
    give_option(tmp_path, place, option.replace('"', "" if place == RUNNING else "'"))
    found = problems(tmp_path)
    assert said in found
    assert "by -o" in found


@pytest.mark.parametrize("place", BY_OPTION)
@pytest.mark.parametrize(
    "option", ["UsePAM=yes", "UsePAM=yes -o UsePAM=no", "PAMServiceName=sshd", "Port=22",
               "AuthenticationMethods=publickey,keyboard-interactive"],
)  # fmt: skip
def test_an_sshd_with_pam_by_its_command_line_passes(
    tmp_path: Path, place: str, option: str
) -> None:
    """Options that leave PAM in charge are no problem; of two the first one counts, as in sshd."""
    lay_out(tmp_path, with_line(DEBIAN))
    give_option(tmp_path, place, option)
    check_one_time(str(tmp_path))


def test_a_process_that_only_calls_itself_sshd_is_no_concern(tmp_path: Path) -> None:
    """A process of another user, or one that is not sshd, does not prevent one-time keys."""
    lay_out(tmp_path, with_line(DEBIAN))
    line = give_option(tmp_path, RUNNING, "UsePAM=no")
    os.chown(line.parent, 65534, 65534)
    check_one_time(str(tmp_path))
    os.chown(line.parent, 0, 0)
    line.write_text("vi -o UsePAM=no")
    check_one_time(str(tmp_path))
    line.unlink()
    check_one_time(str(tmp_path))
    line.parent.rmdir()
    check_one_time(str(tmp_path))
    at(tmp_path, "/run/sshd.pid").write_text("../77")
    check_one_time(str(tmp_path))


@pytest.mark.parametrize(
    "steps",
    ["keyboard-interactive,publickey", "any keyboard-interactive:pam,password,publickey",
     "publickey,keyboard-interactive,publickey"],
)  # fmt: skip
@pytest.mark.parametrize("match", ["", "Match User alice\n"])
def test_a_key_after_keyboard_interactive_is_reported(
    tmp_path: Path, match: str, steps: str
) -> None:
    """A key after keyboard-interactive is reported, since PAM's account phase is then over."""
    lay_out(tmp_path, with_line(DEBIAN))
    config = at(tmp_path, "/etc/ssh/sshd_config")
    config.write_text(f"UsePAM yes\n{match}AuthenticationMethods {steps}\n")
    assert "put publickey first" in problems(tmp_path)
    config.write_text(f"UsePAM yes\n{match}AuthenticationMethods publickey,keyboard-interactive\n")
    check_one_time(str(tmp_path))


def test_the_first_value_counts(tmp_path: Path) -> None:
    """The first value of UsePAM counts, even one in an included file."""
    lay_out(tmp_path, with_line(DEBIAN))
    (tmp_path / "more.conf").write_text("UsePAM yes\n")
    config = at(tmp_path, "/etc/ssh/sshd_config")
    config.write_text(f"Include {tmp_path}/more.conf\nUsePAM no\n")
    check_one_time(str(tmp_path))


@pytest.mark.parametrize("closed", ["etc/ssh/sshd_config", "drop-ins/50.conf", "drop-ins"])
def test_sshds_files_that_cannot_be_read_are_no_problem(closed: str) -> None:
    """Unreadable sshd files are no problem, since nothing is then known of UsePAM."""
    with work_directory() as root:
        root.chmod(0o755)
        lay_out(root, with_line(DEBIAN))
        (root / "drop-ins").mkdir()
        (root / "drop-ins/50.conf").write_text("UsePAM no\n")
        at(root, "/etc/ssh/sshd_config").write_text(f"Include {root}/drop-ins/*.conf\n")
        assert "UsePAM" in problems(root)
        (root / closed).chmod(0)
        os.seteuid(65534)
        try:
            check_one_time(str(root))
        finally:
            os.seteuid(0)
