"""The block for ssh's configuration: how ssh reads it, how it is installed and removed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.client import platform, ssh_config
from agent.client.trouble import Trouble
from tests.parts.host import tool, work_directory
from tests.parts.user import User
from tests.parts.world import good


@pytest.fixture
def user() -> Iterator[User]:
    """A user with an agent and without a configuration."""
    with work_directory() as folder, User(folder) as made:
        yield made


def ssh_settings(user: User, config: Path, host: str) -> dict[str, str]:
    """The options that ssh -G gives for a host with this configuration."""
    done = good(user.do(tool("ssh", "openssh-client"), "-G", "-F", str(config), host))
    return dict(line.split(" ", 1) for line in done.out.splitlines() if " " in line)


def test_ssh_reads_the_block_as_it_is_meant(user: User) -> None:
    """Matching hosts get the proxy, the session's key alone and host keys; others nothing."""
    config = user.home / "config"
    config.write_text(good(user.sixtykey("ssh-config", "web-*", "db-?")).out)
    program = tool("sixtykey", "sixtykey")
    for host in ("web-1", "db-9", "Web-x"):
        found = ssh_settings(user, config, host)
        assert found["proxycommand"] == f"{program} proxy '%r' '%h' '%p'"
        assert found["proxyusefdpass"] == "yes"
        assert found["identitiesonly"] == "yes"
        assert found["identityfile"] == str(user.folder / "id.pub")
        assert found["knownhostscommand"] == f"/bin/cat {user.folder}/known_hosts"
        assert "identityagent" not in found
    for host in ("db-10", "other"):
        found = ssh_settings(user, config, host)
        assert "proxycommand" not in found
        assert found["identitiesonly"] == "no"


def test_the_patterns_are_those_of_client_yaml(user: User) -> None:
    """Without arguments the block is for the hosts of client.yaml; without any it fails."""
    assert user.sixtykey("ssh-config").code == 2
    user.settings({"hosts": {"web-*": {}, "db-1": {}}})
    assert 'originalhost "web-*,db-1,' in good(user.sixtykey("ssh-config")).out
    for pattern in ("a b", "x'", 'x"', "$(x)", "a\\b", ""):
        refused = user.sixtykey("ssh-config", pattern)
        assert (refused.code, refused.out) == (1, "")


def test_install_is_idempotent_and_remove_takes_it_away(user: User) -> None:
    """Install keeps the contents and mode of ~/.ssh/config, and --remove restores the file."""
    folder = user.home / ".ssh"
    folder.mkdir(mode=0o700)
    config = folder / "config"
    before = "# mine\r\nHost *\n  ServerAliveInterval 7"
    config.write_bytes(before.encode())
    config.chmod(0o640)
    for _ in range(2):
        good(user.sixtykey("ssh-config", "--install", "web-*"))
    lines = config.read_bytes().decode().split("\n", 2)
    assert lines[1:] == ["Include sixtykey", before]
    assert config.stat().st_mode & 0o777 == 0o640
    block = (folder / "sixtykey").read_text()
    assert block == good(user.sixtykey("ssh-config", "web-*")).out
    good(user.sixtykey("ssh-config", "--install", "db-*"))
    assert "db-*" in (folder / "sixtykey").read_text()
    assert good(user.sixtykey("ssh-config", "--remove")).out == "removed\n"
    assert config.read_bytes().decode() == before
    assert sorted(path.name for path in folder.iterdir()) == ["config"]
    assert "nothing to remove" in good(user.sixtykey("ssh-config", "--remove")).out


def test_install_begins_a_configuration_and_follows_a_link(user: User) -> None:
    """A missing ~/.ssh/config is made with mode 0600, and a symbolic link is followed."""
    good(user.sixtykey("ssh-config", "--install", "web-*"))
    config = user.home / ".ssh" / "config"
    assert config.stat().st_mode & 0o777 == 0o600
    elsewhere = user.home / "dotfiles"
    config.rename(elsewhere)
    config.symlink_to(elsewhere)
    good(user.sixtykey("ssh-config", "--remove"))
    assert config.is_symlink()
    assert elsewhere.read_text() == ""


def test_the_included_block_comes_first_and_affects_nothing_after_it(user: User) -> None:
    """The included block wins over a later `Host *`, and does not affect what follows it."""
    good(user.sixtykey("ssh-config", "--install", "web-*"))
    config = user.home / ".ssh" / "config"
    # ssh takes the home from the password file, so the test includes the whole path.
    text = config.read_text().replace("Include sixtykey", f"Include {user.home}/.ssh/sixtykey")
    config.write_text(f"{text}Port 2222\nHost *\n  IdentitiesOnly no\n")
    assert ssh_settings(user, config, "web-1")["identitiesonly"] == "yes"
    for host in ("web-1", "other"):
        assert ssh_settings(user, config, host)["port"] == "2222"


def test_an_ignoreunknown_of_the_users_still_counts(user: User) -> None:
    """After the block, ssh still ignores what the user's configuration tells it to ignore.

    Of IgnoreUnknown the first one counts, and what is unknown ends ssh for every host.
    """
    theirs = "IgnoreUnknown UseKeychain\nHost *\n  UseKeychain yes\n"
    config = user.home / "config"
    config.write_text(good(user.sixtykey("ssh-config", "web-*")).out + theirs)
    for host in ("web-1", "other"):
        assert ssh_settings(user, config, host)["port"] == "22"
    config.write_text(theirs)
    printed = good(user.sixtykey("ssh", "--print-command", "-F", str(config), "-G", "web-1")).out
    assert "proxycommand" in good(user.do("sh", "-c", printed)).out


def test_an_older_ssh_gets_no_setting_that_it_does_not_know(user: User) -> None:
    """For an ssh that refuses KnownHostsCommand the block and `sixtykey ssh` leave it out."""
    programs = user.home / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(
        '#!/bin/sh\ncase "$*" in *KnownHostsCommand*) exit 255 ;; esac\n'
        f'exec {tool("ssh", "openssh-client")} "$@"\n'
    )
    (programs / "ssh").chmod(0o755)
    user.environment["PATH"] = f"{programs}:{user.environment['PATH']}"
    config = user.home / "config"
    config.write_text(good(user.sixtykey("ssh-config", "web-*")).out)
    found = ssh_settings(user, config, "web-1")
    assert "proxycommand" in found
    assert "knownhostscommand" not in found
    done = good(user.sixtykey("ssh", "-F", "none", "-G", "web-1"))
    assert "proxycommand" in done.out


def test_a_home_that_a_shell_would_read_is_refused() -> None:
    """A home whose path has a character special to a shell is refused."""
    with work_directory() as folder:
        odd = folder / "it's home"
        odd.mkdir()
        with User(folder) as user:
            user.environment["HOME"] = str(odd)
            done = user.sixtykey("ssh-config", "web-*")
            assert (done.code, done.out) == (1, "")
            assert "has a character that ssh or a shell would read" in done.err


@pytest.mark.parametrize("name", ["a'b", "a\\\\b"])
def test_a_name_that_ends_a_shells_quotes_does_not_match(user: User, name: str) -> None:
    """The block applies to no user name with a quote or backslash, and excludes such hosts.

    ssh since 9.6 refuses such names on its command line, and takes them from a file only.
    """
    block = good(user.sixtykey("ssh-config", "web-*")).out
    config = user.home / "config"
    for theirs, applies in ((name, False), ("a-b", True)):
        config.write_text(f'Host web-1\n  User "{theirs}"\n{block}')
        found = ssh_settings(user, config, "web-1")
        assert found["user"][1] == theirs[1]
        assert ("proxycommand" in found) is applies
    matches = [line for line in block.splitlines() if line.startswith("Match original")]
    assert len(matches) == 2
    assert all(line.startswith('Match originalhost "web-*,!*\'*,!*\\*" ') for line in matches)


@pytest.mark.parametrize("system", ["win32", "cygwin"])
def test_windows_is_refused_with_a_reason(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows is refused, with a hint to use WSL."""
    monkeypatch.setattr("sys.platform", system)
    with pytest.raises(Trouble) as refused:
        platform.check()
    assert "does not work on Windows" in refused.value.words
    assert "WSL" in refused.value.hint


def test_nothing_of_linux_alone_is_imported(user: User) -> None:
    """The client's modules can be imported where Linux-only names are missing, as on macOS."""
    modules = sorted(
        f"agent.client.{path.stem}"
        for path in (Path(platform.__file__).parent).glob("*.py")
        if path.stem != "__init__"
    )
    program = (
        "import time, socket, _socket, select, sys, importlib\n"
        "del time.CLOCK_BOOTTIME\n"
        "for name in ('SO_PEERCRED', 'MSG_NOSIGNAL'): delattr(_socket, name)\n"
        "del select.epoll\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "from agent.client import leases\n"
        "print(leases.boottime() > 0)\n"
    )
    assert good(user.do(sys.executable, "-c", program)).out == "True\n"


BAD = "web-'$(id)'"


@pytest.mark.parametrize(
    "words",
    [[BAD], ["-v", BAD], [f"{BAD}@web-1"], ["-l", BAD, "web-1"], [f"-vl{BAD}", "web-1"],
     ["-p22", "--", BAD], ["web-1", "-l", BAD, "true"], ["-o", "Port=22", BAD], ["a\\b@web-1"],
     ["web-1\n"], ["ssh://a%27b@web-1"], ["-v", "SSH://web-1%5c:22"], ["ssh://web-1%0a"],
     ["-oUser=a'b", "web-1"], ["-o", "hostname 'a'", "web-1"], ["-vo", "User=a'", "web-1"]],
)  # fmt: skip
def test_sixtykey_ssh_takes_no_name_that_ends_a_shells_quotes(words: list[str]) -> None:
    """A user or host name that could end the quotes in ProxyCommand is refused."""
    with pytest.raises(Trouble, match="not a valid user or host name"):
        ssh_config.check_names(words)


def test_sixtykey_ssh_refuses_a_name_that_the_block_skips(user: User) -> None:
    """`sixtykey ssh` refuses such a name before it starts ssh."""
    done = user.sixtykey("ssh", "--print-command", BAD)
    assert (done.code, done.out) == (1, "")
    assert "not a valid user or host name" in done.err


@pytest.mark.parametrize(
    "words",
    [["web-1", "echo 'a'"], ["-o", "SendEnv=A'B", "web-1", "-t", "printf '\\n'"], ["-vv"],
     ["-L", "8080:localhost:80", "ec2-user@web-1", "true", "-l", "'"], ["fe80::1%eth0"], ["-l"],
     ["a%27@web-1"], ["ssh://a%40b@web-1:22"], ["-o", "UserKnownHostsFile='a'", "web-1"]],
)  # fmt: skip
def test_only_names_are_checked_for_quotes(words: list[str]) -> None:
    """Quotes in the remote command and in other options are accepted."""
    ssh_config.check_names(words)
