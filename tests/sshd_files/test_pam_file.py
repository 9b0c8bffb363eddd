"""PAM's account phase is read as libpam reads it, and faults of our line are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.sshd_files.pam_file import LINE, PROGRAM, account_lines, line_faults
from tests.parts.pam_host import DEBIAN, RED_HAT, STACKS, lay_out, with_line


def names(tmp_path: Path, stack: str, socket: str = "/run/sixtykey/lookup.sock") -> list[str]:
    """The faults of a stack by name."""
    service = lay_out(tmp_path, stack)
    lines = list(account_lines(str(service), str(tmp_path)))
    return [fault.name for fault in line_faults(lines, socket)]


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_the_first_account_line_does_its_work(tmp_path: Path, stack: str) -> None:
    """The line at the head of the account phase has no fault; without it, it is missing."""
    assert names(tmp_path, with_line(stack)) == []
    assert names(tmp_path, stack) == ["pam-line-missing"]


@pytest.mark.parametrize(
    "line",
    [
        f"account required pam_exec.so {PROGRAM}",
        f"-account  REQUIRED\t/usr/lib/security/pam_exec.so quiet {PROGRAM}  # for one-time keys",
        f"ACCOUNT requisite pam_exec.so quiet quiet_log {PROGRAM}",
        f"account required \\\n  pam_exec.so quiet \\ # it goes on\n {PROGRAM}",
        f"account required pam_exec.so {PROGRAM} --socket /run/sixtykey/lookup.sock",
        f"account requisite pam_nologin.so\naccount [success=ok default=die] pam_x.so\n{LINE}",
        f"account substack common-account\n{LINE}",
    ],
)
def test_every_spelling_that_libpam_accepts_is_valid(tmp_path: Path, line: str) -> None:
    """Every spelling that libpam accepts is valid, also after lines that do not end the phase."""
    assert names(tmp_path, with_line(DEBIAN, line)) == []


@pytest.mark.parametrize(
    "before",
    [
        "account sufficient pam_localuser.so",
        "account SUFFICIENT pam_localuser.so",
        "account [success=done default=ignore] pam_x.so",
        "account [success=1 default=ignore] pam_x.so",
        "account [default=ignore success=DONE] pam_x.so",
        "account nonsense pam_x.so",
        "@include common-account",
        "account include password-auth",
    ],
)
def test_a_line_that_pam_may_never_come_to(tmp_path: Path, before: str) -> None:
    """The line is misplaced if one before it, also an included one, may end or skip the phase."""
    stack = with_line(DEBIAN, f"{before}\n{LINE}")
    assert names(tmp_path, stack) == ["pam-line-misplaced"]


def test_a_line_whose_refusal_is_undone_is_misplaced(tmp_path: Path) -> None:
    """The line is misplaced if a later `reset` can undo its refusal."""
    undoing = f"{LINE}\naccount [default=reset] pam_permit.so"
    assert names(tmp_path, with_line(DEBIAN, undoing)) == ["pam-line-misplaced"]


@pytest.mark.parametrize(
    "line",
    [
        f"# {LINE}",
        f"auth required pam_exec.so quiet {PROGRAM}",
        f"session required pam_exec.so quiet {PROGRAM}",
        f"account required pam_exec.so quiet {PROGRAM}-not",
        f"account required pam_echo.so quiet {PROGRAM}",
        f"account required pam_permit.so \\\n{LINE}",
        f"account substack ours\n# {LINE}",
    ],
)
def test_similar_lines_do_not_count(tmp_path: Path, line: str) -> None:
    """A comment, or a line of another phase, module or program, does not count as the line."""
    assert names(tmp_path, with_line(DEBIAN, line)) == ["pam-line-missing"]


@pytest.mark.parametrize(
    "line",
    [
        f"account optional pam_exec.so quiet {PROGRAM}",
        f"account sufficient pam_exec.so quiet {PROGRAM}",
        f"account [success=ok default=ignore] pam_exec.so quiet {PROGRAM}",
        f"account required pam_exec.so type=session {PROGRAM}",
        f"account required pam_exec.so quiet /bin/true {PROGRAM}",
        f"account required pam_exec.so quiet {PROGRAM} --socket",
        f"account required pam_exec.so quiet {PROGRAM} --socket /elsewhere",
    ],
)
def test_a_line_whose_refusal_does_not_count_is_wrong(tmp_path: Path, line: str) -> None:
    """The line is wrong if its refusal does not count, or if it does not run pam-account."""
    assert names(tmp_path, with_line(DEBIAN, line)) == ["pam-line-wrong"]


def test_another_socket_must_be_named(tmp_path: Path) -> None:
    """If lookup.socket is not the default, the line must name it."""
    assert names(tmp_path, with_line(RED_HAT), "/run/other.sock") == ["pam-line-wrong"]
    named = with_line(RED_HAT, f"{LINE} --socket /run/other.sock")
    assert names(tmp_path, named, "/run/other.sock") == []


def test_a_second_line_is_reported(tmp_path: Path) -> None:
    """A second line, in the file or in an included one, is reported."""
    assert names(tmp_path, with_line(DEBIAN, f"{LINE}\n{LINE}")) == ["pam-line-doubled"]
    (tmp_path / "etc/pam.d/extra").write_text(f"{LINE}\n")
    assert names(tmp_path, with_line(DEBIAN, f"{LINE}\n@include extra")) == ["pam-line-doubled"]


def test_files_that_include_each_other_are_an_error(tmp_path: Path) -> None:
    """Files that include each other are an error."""
    service = lay_out(tmp_path, "@include sshd\n")
    with pytest.raises(ValueError, match="include each other"):
        list(account_lines(str(service), str(tmp_path)))
