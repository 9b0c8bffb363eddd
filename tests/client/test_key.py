"""The session's key is in a real ssh-agent for a limited time; only its public half is on disk."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.client import session_key
from agent.client.ssh_agent import NoAgent, SshAgent
from agent.client.trouble import Trouble
from tests.parts.host import tool, work_directory
from tests.parts.keys import make_key
from tests.parts.user import User


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    with work_directory() as made:
        yield made


@pytest.fixture
def user(folder: Path) -> Iterator[User]:
    """A user with an agent."""
    with User(folder) as made:
        yield made


def fingerprint(user: User) -> str:
    """The fingerprint that ssh-keygen gives for the .pub file."""
    said = user.do(tool("ssh-keygen", "openssh-client"), "-lf", str(user.folder / "id.pub"))
    assert said.code == 0, said
    return said.out.split()[1]


def test_login_gives_the_agent_a_key(user: User) -> None:
    """Login adds one Ed25519 key to the agent and writes its public half with mode 0600."""
    done = user.sixtykey("login")
    assert done.code == 0, done
    (line,) = user.agent_keys()
    path = user.folder / "id.pub"
    assert path.read_text() == line + "\n"
    assert line.startswith("ssh-ed25519 ")
    assert fingerprint(user) in done.out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(user.folder.stat().st_mode) == 0o700
    # ssh's KnownHostsCommand reads it, and must not fail.
    assert (user.folder / "known_hosts").read_text() == ""


def test_a_folder_that_others_could_read_is_made_private(user: User) -> None:
    """A folder of ours that was made with another mode gets mode 0700."""
    user.folder.mkdir(parents=True)
    user.folder.chmod(0o755)
    assert user.sixtykey("login").code == 0
    assert stat.S_IMODE(user.folder.stat().st_mode) == 0o700


def test_a_home_without_locks_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has no locks, as some NFS, gives an error with the lock's path."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(Trouble, match=r"key\.lock: No locks available"):
        session_key.ensure({"HOME": str(folder)}, 60, False, 10)


def test_no_core_file_has_the_key(user: User) -> None:
    """The process that makes the key can leave no core file, which would hold the key."""
    program = (
        "import os, resource\n"
        "resource.setrlimit(resource.RLIMIT_CORE, resource.getrlimit(resource.RLIMIT_CORE)[1:] * 2)"
        "\nfrom agent.client import session_key\n"
        "session_key.ensure(os.environ, 60, False, 10)\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE)[0])\n"
    )
    done = user.do(sys.executable, "-c", program)
    assert (done.code, done.out) == (0, "0\n"), done


def test_the_agent_removes_a_key_at_its_end(user: User) -> None:
    """The agent removes the key when its lifetime has passed."""
    agent = SshAgent(user.environment["SSH_AUTH_SOCK"])
    key = session_key.make(agent, 1, False)
    assert [held.blob for held in session_key.keys_of(agent)] == [key.blob]
    deadline = time.monotonic() + 30
    while user.agent_keys() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert user.agent_keys() == []


def test_a_key_that_is_there_is_kept(user: User) -> None:
    """Repeated and simultaneous logins leave one key in the agent."""
    commands = [
        subprocess.Popen([tool("sixtykey", "sixtykey"), "login", "--quiet"], env=user.environment)
        for _ in range(8)
    ]
    assert [each.wait(60) for each in commands] == [0] * 8
    assert user.sixtykey("login").code == 0
    assert len(user.agent_keys()) == 1


def test_a_key_that_ends_soon_is_followed_by_the_next(user: User) -> None:
    """Login makes a new key when the old one ends soon, and the .pub file names the new one."""
    environ = user.environment
    old = session_key.ensure(environ, 60, False, 15)
    new = session_key.ensure(environ, 3600, False, session_key.margin(3600))
    assert new.blob != old.blob
    assert (user.folder / "id.pub").read_text() == new.line + "\n"
    loaded = session_key.find_loaded(environ)
    assert loaded is not None
    assert loaded.blob == new.blob
    assert loaded.seconds_left(time.time()) == pytest.approx(3600, abs=30)


def test_a_key_of_another_agent_does_not_count(user: User) -> None:
    """Each agent has its own key, and the .pub file is that of the agent in use."""
    user.sixtykey("login")
    first = (user.folder / "id.pub").read_text()
    with work_directory() as short, User(short) as other:
        environment = {**user.environment, "SSH_AUTH_SOCK": other.environment["SSH_AUTH_SOCK"]}
        assert session_key.find_loaded(environment) is None
        session_key.ensure(environment, 3600, False, 60)
        assert (user.folder / "id.pub").read_text() != first
    # With the first agent again, its key is found and no new one is made.
    assert user.sixtykey("login").code == 0
    assert (user.folder / "id.pub").read_text() == first
    assert len(user.agent_keys()) == 1


def test_with_confirm_the_agent_asks(user: User) -> None:
    """A key made with --confirm does not sign without a confirmation."""
    assert user.sixtykey("login", "--confirm").code == 0
    assert len(user.agent_keys()) == 1
    # ssh-add -T has the agent sign. Nobody can confirm it here.
    tried = user.do(tool("ssh-add", "openssh-client"), "-T", str(user.folder / "id.pub"))
    assert tried.code != 0
    assert "refused" in tried.err or "agent" in tried.err


def test_logout_removes_every_key_of_ours(user: User) -> None:
    """Logout removes the key and the .pub file, and leaves other keys in the agent.

    A second logout is no error.
    """
    other = make_key(user.home, "other")
    assert user.do(tool("ssh-add", "openssh-client"), "-q", str(other.private)).code == 0
    user.sixtykey("login")
    done = user.sixtykey("logout")
    assert (done.code, done.out.split()[0]) == (0, "forgotten")
    assert [line.split()[1] for line in user.agent_keys()] == [other.base64]
    assert not (user.folder / "id.pub").exists()
    assert user.sixtykey("logout").out == "there was no key\n"


def test_without_an_agent_one_is_started(folder: Path) -> None:
    """Without an agent, login starts a real one. The next login finds it, and logout ends it."""
    with User(folder, agent=False) as user:
        assert user.sixtykey("login", "--quiet").code == 0
        socket = user.folder / "agent.sock"
        user.environment["SSH_AUTH_SOCK"] = str(socket)
        (line,) = user.agent_keys()
        del user.environment["SSH_AUTH_SOCK"]
        assert user.sixtykey("login").code == 0
        assert (user.folder / "id.pub").read_text() == line + "\n"
        number = int((user.folder / "agent.pid").read_text())
        os.kill(number, 0)
        assert user.sixtykey("logout").code == 0
        assert not socket.exists()
        deadline = time.monotonic() + 30
        while Path(f"/proc/{number}").exists() and time.monotonic() < deadline:
            state = Path(f"/proc/{number}/stat").read_text().split()[2]
            if state == "Z":
                break
            time.sleep(0.05)
        else:
            assert not Path(f"/proc/{number}").exists()


def test_an_agent_that_has_ended_counts_as_none(folder: Path) -> None:
    """A stale SSH_AUTH_SOCK counts as no agent, and login starts one."""
    stale = {"SSH_AUTH_SOCK": str(folder / "gone.sock")}
    with User(folder, agent=False, environment=stale) as user:
        done = user.sixtykey("login")
        assert done.code == 0, done
        assert str(user.folder / "agent.sock") in done.out


def test_a_missing_ssh_agent_program_is_reported(folder: Path) -> None:
    """Without an ssh-agent program, login fails with an error and makes no file."""
    with User(folder, agent=False) as user:
        user.environment["PATH"] = str(folder)
        done = user.do(tool("sixtykey", "sixtykey"), "login")
        assert (done.code, done.out) == (1, "")
        assert "no ssh-agent is running, and none can be started" in done.err
        assert not (user.folder / "id.pub").exists()


def test_an_agent_that_takes_no_key_gives_way_to_our_own(user: User) -> None:
    """When the agent accepts no key, login starts an agent of its own."""
    agent = SshAgent(user.environment["SSH_AUTH_SOCK"])
    phrase = b"secret"
    lock, unlock = (bytes([kind]) + len(phrase).to_bytes(4, "big") + phrase for kind in (22, 23))
    assert agent._ask(lock)[0] == 6
    for _ in range(2):
        done = user.sixtykey("login")
        assert done.code == 0, done
        assert f"in the ssh-agent at {user.folder}/agent.sock" in done.out
    assert agent._ask(unlock)[0] == 6
    assert user.agent_keys() == []


def test_gpg_agent_is_given_nothing(folder: Path) -> None:
    """gpg-agent gets no key, since it would store it in a file; login starts an agent."""
    with User(folder, socket="S.gpg-agent.ssh") as user:
        done = user.sixtykey("login")
        assert f"in the ssh-agent at {user.folder}/agent.sock" in done.out
        assert user.agent_keys() == []
        # A symbolic link to its socket is recognised too.
        link = folder / "agent"
        link.symlink_to(user.environment["SSH_AUTH_SOCK"])
        user.environment["SSH_AUTH_SOCK"] = str(link)
        assert user.sixtykey("login").code == 0
        assert user.agent_keys() == []


def test_a_socket_that_is_not_an_agents_is_refused(folder: Path) -> None:
    """A socket whose answers are not those of an agent raises NoAgent."""
    import socket
    import threading

    path = folder / "false.sock"
    for answer in (b"", b"\0\0\0\1", b"\xff\xff\xff\xff", b"\0\0\0\5\x0c\0\0\0\1", b"HTTP/1.1 200"):
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(1)

            def serve(listener: socket.socket = listener, answer: bytes = answer) -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(100)
                    connection.sendall(answer)

            thread = threading.Thread(target=serve)
            thread.start()
            with pytest.raises(NoAgent):
                SshAgent(str(path)).identities()
            thread.join(10)
