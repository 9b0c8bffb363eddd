"""Options on sshd's command line, compared with sshd; whose processes count; which units do."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from agent.sshd_files import command_lines, units
from agent.sshd_files.directives import key_after_interactive
from tests.parts.host import IS_ROOT
from tests.parts.sshd_options import BY_OPTION, DEFAULTS, DROP_IN, RUNNING, give_option

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="only root's sshd counts")
SSHD = "/usr/sbin/sshd"
USE = ("UsePAM=%s", "usepam %s", 'UsePAM="%s"', 'UsePAM "%s"', 'UsePAM  "%s"', 'UsePAM = "%s"',
       "UsePAM= %s", 'UsePAM ="%s"', "UsePAM='%s'", '"UsePAM" %s', "=UsePAM %s", " UsePAM\t%s",
       '""UsePAM %s', "UsePAM=%s #x", '"UsePAM"%s', 'Use"PAM"%s', """"UsePAM"'%s'""")  # fmt: skip
METHODS = (
    'AuthenticationMethods="%s"',
    'AuthenticationMethods = "%s"',
    'AuthenticationMethods=publickey "%s"',
    "AuthenticationMethods publickey %s",
    '"AuthenticationMethods"%s',
)
SPELLINGS = (
    *(spelling % value for spelling in USE for value in ("yes", "no", "NO", "Yes")),
    *(s % v for s in METHODS for v in ("keyboard-interactive,publickey", "publickey,password")),
)


def faults(root: Path) -> list[str]:
    """The faults of a host's units, files of options, and running sshd."""
    lines = [*command_lines.configured(str(root)), *command_lines.listening(str(root))]
    assert [*command_lines.running(str(root))] == [*command_lines.listening(str(root))]
    return [words for _, words in command_lines.pam_faults(lines)]


def in_quotes(option: str) -> str:
    """The option as one word of a unit (systemd.syntax(7))."""
    return '"' + option.replace("\\", "\\\\").replace('"', '\\"') + '"'


@pytest.fixture(scope="module")
def host_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A host key, without which sshd -T does not start."""
    path = tmp_path_factory.mktemp("host") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    # sshd -T does not start without its folder.
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    return path


@pytest.mark.parametrize("option", SPELLINGS)
def test_an_option_is_understood_as_sshd_understands_it(
    tmp_path: Path, host_key: Path, option: str
) -> None:
    """What the real sshd makes of a spelling of `-o` is what is reported of it, in each place."""
    command = [SSHD, "-T", "-f", "/dev/null", "-h", str(host_key), "-o", "UsePAM=yes"]
    command[-2:-2] = ["-o", option]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        # Before OpenSSH 8.7 sshd refuses some spellings, and does not start with them.
        assert "command-line" in done.stderr, done.stderr
        return
    effective = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
    steps = key_after_interactive(effective["authenticationmethods"])
    has_fault = effective["usepam"] != "yes" or steps is not None
    for place in BY_OPTION:
        give_option(tmp_path, place, option if place == RUNNING else in_quotes(option))
        assert [("by -o" in words) for words in faults(tmp_path)] == [True] * has_fault
        (tmp_path / place).unlink()


@pytest.mark.parametrize("place", BY_OPTION)
@pytest.mark.parametrize(
    "option",
    ["UsePAM=", "UsePAM= ", "UsePAM", "UsePAM= $X", "UsePAM = $PAM", "UsePAM=$X", "UsePAM$X",
     "UsePAM=${X}", "UsePAM=yes${X}", "UsePAM=%i", 'UsePAM=""', "UsePAM= -o Port=22",
     "PAMServiceName=", "PAMServiceName $X", 'PAMServiceName="${X}"', "AuthenticationMethods=",
     "AuthenticationMethods= -D", "AuthenticationMethods=publickey,${X}"],
)  # fmt: skip
def test_a_value_that_cannot_be_known_is_a_fault(tmp_path: Path, place: str, option: str) -> None:
    """An option without a value, or with a variable as its value, is a fault in words."""
    for written in (option, in_quotes(option)):
        give_option(tmp_path, place, written)
        (words,) = faults(tmp_path)
        assert "by -o cannot be known" in words


@pytest.mark.parametrize(
    "written",
    [r"UsePAM\sno", r"UsePAM\x20no", r"UsePAM\x3dno", r'"UsePAM\tno"', r"Use\x50AM=no",
     r"UsePAM\040no", r"UsePAM\u003dno"],
)  # fmt: skip
def test_an_option_with_a_units_escapes_is_reported(tmp_path: Path, written: str) -> None:
    """An option is reported although systemd's escapes hide a part of it."""
    give_option(tmp_path, DROP_IN, written)
    assert "sshd does not use PAM: UsePAM no by -o" in " ".join(faults(tmp_path))


def test_the_check_before_the_start_may_have_the_same_options(tmp_path: Path) -> None:
    """A variable behind options is more options in each command of a unit; `;` is a comment."""
    drop_in = give_option(tmp_path, DROP_IN, "UsePAM=yes")
    start = "/usr/sbin/sshd -t -o AuthenticationMethods=publickey $SSHD_OPTS"
    drop_in.write_text(f"[Service]\nExecStartPre={start}\n")
    give_option(tmp_path, DEFAULTS, "UsePAM=yes").write_text(';SSHD_OPTS="-o UsePAM=no"\n')
    assert faults(tmp_path) == []


@pytest.mark.parametrize("place", BY_OPTION)
@pytest.mark.parametrize("option", ['PAMServiceName="x"', 'PAMServiceName = "SSHD"'])
def test_another_service_of_pam_is_reported_in_quotes_too(
    tmp_path: Path, place: str, option: str
) -> None:
    """Another PAM service is reported in each place, however it is quoted."""
    give_option(tmp_path, place, in_quotes(option))
    (words,) = faults(tmp_path)
    assert "PAM's service" in words
    give_option(tmp_path, place, in_quotes('PAMServiceName = "sshd"'))
    assert faults(tmp_path) == []


def test_a_variables_value_counts_and_a_description_does_not(tmp_path: Path) -> None:
    """Each value of Environment= counts, since it may be behind `-o`; a description is no option.

    Nor is a name in a path, or in the title of a login's process.
    """
    drop_in = give_option(tmp_path, DROP_IN, "Banner=/etc/UsePAM=no")
    assert faults(tmp_path) == []
    drop_in.write_text('[Service]\nEnvironment="A=UsePAM=yes" "B=UsePAM=no"\n')
    assert len(faults(tmp_path)) == 1
    drop_in.write_text("[Unit]\nDescription=sshd with UsePAM = no\n")
    assert faults(tmp_path) == []
    give_option(tmp_path, RUNNING, "").write_text("sshd: usepam [priv]")
    assert faults(tmp_path) == []


def test_blanks_are_collapsed_and_the_rest_of_a_long_line_is_not_read(tmp_path: Path) -> None:
    """Of another process's command line 64 KiB are read, and of its blanks one is kept."""
    line = give_option(tmp_path, RUNNING, "UsePAM=yes")
    line.write_text("sshd -o usepam=yes" + " \t\r\n" * 9000 + "end" + " " * 100_000 + "more")
    (found,) = command_lines.running(str(tmp_path))
    assert found.text == "sshd -o usepam=yes end"


def test_a_process_that_may_not_be_dumped_is_its_users(tmp_path: Path) -> None:
    """The owner of the process's folder counts: the files in it may be root's for any process."""
    folder = give_option(tmp_path, RUNNING, "UsePAM=no").parent
    assert len(faults(tmp_path)) == 1
    os.chown(folder, 65534, 65534)
    assert faults(tmp_path) == []


def test_a_real_process_that_may_not_be_dumped_is_its_users() -> None:
    """A real process of another user that calls itself sshd, and may not be dumped, is not root's.

    The same process of root does not count either: its program is no sshd.
    """
    program = (
        "import ctypes, os, sys\n"
        "if sys.argv[2] == 'nobody': os.setgid(65534); os.setuid(65534)\n"
        "ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\n"
        "print(flush=True); sys.stdin.read()\n"
    )
    for user in ("nobody", "root"):
        with subprocess.Popen(
            ["sshd", "-c", program, "-oUsePAM=no", user],
            executable="/usr/bin/python3",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdout.readline()
            assert os.stat(f"/proc/{process.pid}/cmdline").st_uid == 0
            where = [line.where for line in command_lines.running("/")]
            process.stdin.close()
        assert f"the running sshd (process {process.pid})" not in where


@pytest.mark.parametrize(
    ("program", "counts"),
    [("/usr/sbin/sshd", True), ("/usr/sbin/sshd (deleted)", True), ("/usr/bin/su", False)],
)
def test_the_program_is_an_sshd(tmp_path: Path, program: str, counts: bool) -> None:
    """A process that root's other program became under sshd's name does not count."""
    folder = give_option(tmp_path, RUNNING, "UsePAM=no").parent
    (folder / "exe").symlink_to(program)
    assert bool([*command_lines.running(str(tmp_path))]) is counts


@pytest.mark.parametrize(("ids", "counts"), [("77", True), ("77\t1", False)])
def test_an_sshd_in_a_container_is_not_the_hosts(tmp_path: Path, ids: str, counts: bool) -> None:
    """An sshd in another PID namespace is not the host's."""
    folder = give_option(tmp_path, RUNNING, "UsePAM=no").parent
    (folder / "status").write_text(f"Name:\tsshd\nNSpid:\t{ids}\nNSsid:\t1\t1\n")
    assert bool(faults(tmp_path)) is counts


def test_drop_ins_of_an_alias_and_of_all_services_are_read(tmp_path: Path) -> None:
    """A unit has the drop-ins of its aliases and of all services, as in systemd.unit(5)."""
    drop_in = give_option(tmp_path, DROP_IN, "UsePAM=yes")
    folder = drop_in.parent.parent
    for name in ("sshd.service.d/alias.conf", "service.d/all.conf", "service.d/options.conf"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("[Service]\nEnvironment=X=UsePAM=no\n")

    def read() -> list[str]:
        found = dict.fromkeys(line.where for line in units.all_lines(str(tmp_path)))
        return [where.rpartition(":")[0][len(str(folder)) + 1 :] for where in found]

    # Without the link it is another unit's drop-in; a namesake of the unit's own is hidden.
    assert sorted({*read()} - {""}) == ["service.d/all.conf", "ssh.service.d/options.conf"]
    assert len(faults(tmp_path)) == 1
    (folder / "sshd.service").symlink_to(tmp_path / "usr/lib/systemd/system/ssh.service")
    assert "sshd.service.d/alias.conf" in read()
    assert len(faults(tmp_path)) == 2


def test_files_of_options_are_read_without_comments(tmp_path: Path) -> None:
    """A comment in a file of options is no option."""
    give_option(tmp_path, DEFAULTS, "").write_text("# -o UsePAM=no\n\n")
    assert faults(tmp_path) == []
