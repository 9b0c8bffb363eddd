"""pam-account: which logins it asks about, what it asks, and that only "yes" admits one."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.pam_account import KINDS, PamAccount
from tests.parts.stub_lookup import Behaviour, StubLookup, answering, sending

YES = answering(b"yes\n")


@pytest.fixture(params=KINDS)
def pam(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PamAccount]:
    """The program as it is shipped, and with sanitizers."""
    with contextlib.closing(PamAccount(tmp_path, request.param)) as made:
        yield made


def test_a_login_without_a_one_time_key_asks_nobody(pam: PamAccount) -> None:
    """A login without a mark of a one-time key is admitted, and the daemon is not asked."""
    with StubLookup(pam.directory, answering(b"no\n")) as stub:
        assert pam.ask().status == 0
        pam.handed.mkdir()
        assert pam.ask().status == 0
        for name in (f"{os.getpid()}-1", f"{os.getpid()}", f"1{os.getpid()}-2", "x", ".new"):
            (pam.handed / name).touch()
        done = pam.ask()
        assert (done.status, done.out, done.warnings) == (0, b"", [])
        assert stub.asked == []


def test_ordinary_logins_do_not_need_the_daemon(pam: PamAccount) -> None:
    """While the daemon is away, a login without a one-time key is admitted, without a warning."""
    pam.handed.mkdir()
    done = pam.ask()
    assert (done.status, done.warnings) == (0, [])


def test_yes_admits_the_login(pam: PamAccount) -> None:
    """When the daemon answers "yes", the login is admitted and nothing is logged."""
    pam.hand_out()
    with StubLookup(pam.directory, YES) as stub:
        done = pam.ask()
    assert (done.status, done.out, done.warnings) == (0, b"", [])
    assert stub.asked == [b"admit 192.0.2.7\n"]


def test_any_other_answer_refuses_and_is_logged(pam: PamAccount) -> None:
    """Any other text refuses the login and is logged with its control characters replaced."""
    pam.hand_out()
    with StubLookup(pam.directory, answering(b"used \x1b[2K once\nalready\n")):
        done = pam.ask()
    assert (done.status, done.out) == (1, b"")
    (line,) = done.warnings
    assert line.startswith("<84>sixtykey-pam-account[")
    assert line.endswith("]: refused: used ?[2K once?already")


@pytest.mark.parametrize(
    "behave",
    [
        sending(b"yes\n"),
        sending(b"yes"),
        sending(b""),
        sending(b"\n"),
        sending(b"\n\n"),
        sending(b"YES\n\n"),
        sending(b"yes\n\n\n"),
        sending(b"yes\n\nno\n\n"),
        sending(b" yes\n\n"),
        sending(b"yes\0\n\n"),
        sending(b"yes\n" * 1000 + b"\n"),
        sending(b"\xff" * 510 + b"\n\n"),
        None,
    ],
)
def test_whatever_is_not_yes_refuses(pam: PamAccount, behave: Behaviour) -> None:
    """A login is refused if the answer is cut off, unmarked, longer than "yes", or missing."""
    pam.hand_out()
    with StubLookup(pam.directory, behave):
        done = pam.ask()
    assert (done.status, len(done.warnings)) == (1, 1)


def test_a_silent_daemon_refuses_in_the_end(pam: PamAccount) -> None:
    """A login is refused if the daemon stays silent or sends an answer without an end."""
    pam.hand_out()
    over: list[StubLookup] = []

    def drip(connection: socket.socket) -> None:
        while not over[0].over.wait(0.02):
            connection.sendall(b"y")

    def wait(_: socket.socket) -> None:
        over[0].over.wait()

    with StubLookup(pam.directory, wait) as silent:
        over[:] = [silent]
        assert pam.ask().status == 1
    with StubLookup(pam.directory, drip) as dripping:
        over[:] = [dripping]
        done = pam.ask()
    assert done.status == 1
    assert "does not answer at" in done.warnings[0]


def test_a_daemon_that_is_away_refuses(pam: PamAccount) -> None:
    """A login with a one-time key is refused if the daemon's socket cannot be reached."""
    pam.hand_out()
    done = pam.ask()
    assert (done.status, len(done.warnings)) == (1, 1)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(pam.directory / "stub.sock"))
    assert pam.ask().status == 1
    done = pam.run("--socket", f"{pam.directory}/{'x' * 200}")
    assert (done.status, len(done.warnings)) == (1, 1)


def test_the_next_daemon_is_asked_when_one_ends(pam: PamAccount) -> None:
    """If the connection ends without an answer, as in a restart, the daemon is asked again."""
    pam.hand_out()
    asked: list[int] = []

    def restart(connection: socket.socket) -> None:
        asked.append(1)
        if len(asked) > 1:
            YES(connection)

    with StubLookup(pam.directory, restart):
        assert pam.ask().status == 0
    assert len(asked) == 2


@pytest.mark.parametrize("name", [") 1 2 3 4 5", "((x) S 1", "a b) (c", ")))", " "])
def test_a_process_name_cannot_change_its_start_time(pam: PamAccount, name: str) -> None:
    """A process's start time is read correctly, whatever name the process has given itself."""
    own = Path("/proc/self/comm")
    before = own.read_text()
    own.write_text(name)
    try:
        pam.hand_out()
        with StubLookup(pam.directory, answering(b"no\n")) as stub:
            assert pam.ask().status == 1
        assert len(stub.asked) == 1
    finally:
        own.write_text(before)


BETWEEN = ["/bin/sh", "-c", '"$@"; exit $?', "sh"]


def test_a_mark_of_its_parents_parent_counts(pam: PamAccount) -> None:
    """A mark of the grandparent process counts, and one of a process above that does not.

    For keyboard-interactive, sshd calls PAM in a child of the process that handles the login.
    """
    pam.hand_out()
    with StubLookup(pam.directory, answering(b"no\n")) as stub:
        assert pam.ask(BETWEEN).status == 1
        assert len(stub.asked) == 1
        # One level more is ignored: sshd has no such depth.
        assert pam.ask([*BETWEEN, *BETWEEN]).status == 0
        assert len(stub.asked) == 1


@pytest.mark.parametrize("what", ["file", "link"])
def test_a_mark_that_cannot_be_read_counts_as_one(pam: PamAccount, what: str) -> None:
    """If the marks' folder is a file, or a mark is a broken link, the daemon is asked."""
    if what == "file":
        pam.handed.touch()
    else:
        name = pam.hand_out()
        name.unlink()
        name.symlink_to("/nonexistent")
    with StubLookup(pam.directory, answering(b"no\n")) as stub:
        assert pam.ask().status == 1
    assert len(stub.asked) == 1


@pytest.mark.parametrize(
    ("environment", "question"),
    [
        ({"SSH_CONNECTION": "2001:db8::1 1 ::1 22"}, "2001:db8::1"),
        ({"SSH_CONNECTION": "fe80::1%2 1 fe80::2%2 22"}, "fe80::1%2"),
        ({"SSH_CONNECTION": "198.51.100.1"}, "198.51.100.1"),
        ({"SSH_CONNECTION": ""}, "-"),
        ({"SSH_CONNECTION": " 192.0.2.9"}, "-"),
        ({"SSH_CONNECTION": "192.0.2.9\nadmit 192.0.2.8 1 2 3"}, "-"),
        ({"SSH_CONNECTION": "UNKNOWN 65535 UNKNOWN 65535"}, "-"),
        ({"SSH_CONNECTION": "1" * 64}, "-"),
        ({"SSH_CONNECTION": "1" * 63}, "1" * 63),
        ({"SSH_CONNECTION": "1" * 100_000}, "-"),
        ({"SSH_CONNECTION": "%n%s%n 1"}, "-"),
        ({"PAM_RHOST": "evil\npartial", "SSH_CONNECTION": "192.0.2.9 1"}, "192.0.2.9"),
        ({"SSH_AUTH_INFO_0": "publickey ssh-ed25519 AAAA\n"}, "192.0.2.7 partial"),
        ({"SSH_AUTH_INFO_0": "password\npublickey ssh-ed25519 A\n"}, "192.0.2.7 partial"),
        ({"SSH_AUTH_INFO_0": "password\n"}, "192.0.2.7"),
        ({"SSH_AUTH_INFO_0": ""}, "192.0.2.7"),
        ({"SSH_AUTH_INFO_0": "x" * 100_000}, "192.0.2.7"),
    ],
)
def test_the_request_names_the_address_and_partial_steps(
    pam: PamAccount, environment: dict[str, str], question: str
) -> None:
    """The request is one well-formed line, whatever the environment variables contain."""
    pam.hand_out()
    with StubLookup(pam.directory, YES) as stub:
        assert pam.ask(**environment).status == 0
    assert stub.asked == [f"admit {question}\n".encode()]


@pytest.mark.parametrize(
    ("host", "question"), [("192.0.2.7", "192.0.2.7"), ("a.example", "-"), ("", "-")]
)
def test_without_sshs_own_variable_pams_counts(pam: PamAccount, host: str, question: str) -> None:
    """Without SSH_CONNECTION, an address in PAM_RHOST is used; a name (UseDNS) is not."""
    pam.hand_out()
    with StubLookup(pam.directory, YES) as stub:
        assert pam.ask(["env", "-u", "SSH_CONNECTION"], PAM_RHOST=host, PATH="/bin").status == 0
    assert stub.asked == [f"admit {question}\n".encode()]


@pytest.mark.parametrize("arguments", [("--socket",), ("--help", "me"), ("x",), ("--sock", "/x")])
def test_a_wrong_command_line_keeps_nobody_out(pam: PamAccount, arguments: tuple[str, ...]) -> None:
    """With a wrong command line the usual socket and marks are used, so the login is admitted.

    A warning says that the line in PAM's file is wrong.
    """
    pam.hand_out()
    done = pam.run(*arguments)
    assert (done.status, len(done.warnings)) == (0, 1)
    assert "the line in /etc/pam.d/sshd is wrong" in done.warnings[0]


def test_help_says_where_it_belongs(pam: PamAccount) -> None:
    """--help prints the line for PAM's file."""
    assert b"account required pam_exec.so quiet /usr/lib/sixtykey/" in pam.run("--help").out


@pytest.mark.parametrize("closed", ["<&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_change_nothing(pam: PamAccount, closed: str) -> None:
    """Closed standard descriptors change nothing, and no socket is used as an output."""
    pam.hand_out()
    shell = ["/bin/sh", "-c", f'exec "$@" {closed}', "sh"]
    with StubLookup(pam.directory, YES) as stub:
        assert pam.ask(shell).status == 0
    with StubLookup(pam.directory, answering(b"no\n")):
        done = pam.ask(shell)
    assert (done.status, len(done.warnings)) == (1, 1)
    assert stub.asked == [b"admit 192.0.2.7\n"]
