"""Other ways to connect: `sixtykey ssh`, no agent, and no key at all."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.parts.daemon import CREDENTIAL
from tests.parts.host import tool
from tests.parts.world import Stage, World, good, one_host, somebody


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """A single host."""
    with one_host() as made:
        yield made


def test_sixtykey_ssh_needs_no_configuration(world: World) -> None:
    """`sixtykey ssh` passes all arguments to ssh unchanged, and returns ssh's exit code."""
    port, known = str(world.sshd.port), world.user.home / "known_hosts"
    options = ("-F", "none", "-p", port, "-o", f"UserKnownHostsFile={known}", "-o", "BatchMode=yes")
    done = world.user.sixtykey("ssh", *options, world.place, "echo --help; exit 7")
    assert (done.code, done.out, done.err) == (7, "--help\n", "")
    printed = good(world.user.sixtykey("ssh", "--print-command", *options, world.place, "id -un"))
    assert printed.out.startswith("ssh -oProxyCommand=") or printed.out.startswith("ssh '-oProxy")
    assert good(world.user.do("sh", "-c", printed.out)).out == f"{world.login}\n"


def test_sixtykey_ssh_takes_options(world: World) -> None:
    """Options replace the settings of client.yaml, also for the proxy that ssh runs."""
    world.user.settings({})
    told = (
        "--endpoint", world.daemon.endpoint, "--region", world.daemon.region,
        "--instance", world.daemon.instance_id, "--zone", world.daemon.availability_zone,
        "--address", "127.0.0.1",
    )  # fmt: skip
    known = world.user.home / "known_hosts"
    options = ("-F", "none", "-p", str(world.sshd.port), "-o", f"UserKnownHostsFile={known}")
    done = world.user.sixtykey("ssh", *told, *options, world.place, "id -un")
    assert good(done).out == f"{world.login}\n"


def test_an_endpoint_is_enough_for_a_single_host(world: World) -> None:
    """A single host reports its instance, zone and its keys' uses; client.yaml need not.

    So the second connection within a live lease pushes nothing, and one as another OS user does.
    """
    settings = {"endpoint": world.daemon.endpoint, "region": world.daemon.region}
    world.user.settings({**settings, "hosts": {"web-*": {"address": "127.0.0.1"}}})
    for _ in range(3):
        assert good(world.user.ssh(world.place, "id -un")).out == f"{world.login}\n"
    assert world.pushes() == 1
    assert world.user.ssh("nobody-at-all@web-1", "true").code == 255
    assert world.pushes() == 2


def test_no_library_of_the_daemons_is_used(world: World) -> None:
    """The client works without the libraries that pip installs for the daemon only."""
    libraries = world.user.home / "libraries"
    libraries.mkdir()
    for name in ("paramiko", "cachetools", "h11", "cryptography"):
        (libraries / f"{name}.py").write_text("raise ImportError('of the daemon')\n")
    before = world.user.environment["PYTHONPATH"]
    world.user.environment["PYTHONPATH"] = f"{libraries}:{before}"
    refused = world.user.do(sys.executable, "-c", "import agent.daemon")
    assert "of the daemon" in refused.err
    settings = {"endpoint": world.daemon.endpoint, "region": world.daemon.region}
    world.user.settings({**settings, "hosts": {"web-*": {"address": "127.0.0.1"}}})
    assert good(world.user.ssh(world.place, "id -un")).out == f"{world.login}\n"
    for words in (["login"], ["hosts"], ["why", world.place], ["known-hosts", "web-1"]):
        good(world.user.sixtykey(*words))


def test_why_asks_the_host(world: World) -> None:
    """`why USER@HOST` shows a user their own push, and whether sshd was given the key."""
    good(world.user.ssh(world.place, "true"))
    said = good(world.user.sixtykey("why", world.place)).out
    print_ = good(world.user.do(tool("ssh-add", "openssh-client"), "-l")).out.split()[1]
    assert f"sshd asked for {print_}: given" in said
    assert f"pushed by {CREDENTIAL['access_key_id']}: accepted" in said
    nothing = world.user.sixtykey("why", "nobody-else@web-1")
    assert nothing.code == 1
    assert "has no record of a push by you" in nothing.out


@pytest.mark.parametrize(
    "name", ["web-*", "a,b", "!web", "@cert-authority", "-oX", "a b", "", "$(id)"]
)
def test_names_that_a_file_of_host_keys_would_read_are_refused(world: World, name: str) -> None:
    """Names that known_hosts or ssh would interpret, as wildcards or options, are refused."""
    for words in ((world.login, name, "22"), (name, "web-1", "22")):
        done = world.user.sixtykey("proxy", "--", *words)
        assert (done.code, done.out) == (1, "")
        assert "is not a valid user or host name" in done.err
    assert world.pushes() == 0


def test_without_an_agent_it_works_too(world: World) -> None:
    """Without an agent of the user's, sixtykey starts one, which ssh finds by IdentityAgent."""
    with somebody(world.stage, agent=False) as other:
        user = other.user
        for _ in range(2):
            assert good(user.ssh(world.place, "id -un")).out == f"{world.login}\n"
        port, known = str(world.sshd.port), user.home / "known_hosts"
        options = ("-F", "none", "-p", port, "-o", f"UserKnownHostsFile={known}")
        assert good(user.sixtykey("ssh", *options, world.place, "id -un")).code == 0


def test_without_a_key_ssh_goes_on_without_us(world: World) -> None:
    """If no key can be made, the ssh_config block does not match, and ssh works without it."""
    world.user.environment["SSH_AUTH_SOCK"] = ""
    (world.user.folder / "id.pub").unlink(missing_ok=True)
    world.user.folder.chmod(0o700)
    (world.user.folder / "client.yaml").write_text("nonsense: 1\n")
    done = world.user.ssh("-G", world.place)
    assert "proxycommand" not in done.out
    assert "nonsense: unknown" in done.err


def test_a_terminal_shows_what_takes_long(world: World) -> None:
    """After half a second the proxy reports on the terminal what it is waiting for.

    Nothing is written to stdout, which belongs to the connection.
    """
    import pty
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        master, slave = pty.openpty()
        process = subprocess.Popen(
            [
                tool("sixtykey", "sixtykey"), "proxy", "--endpoint", endpoint, world.login,
                "web-1", "1",
            ],
            env=world.user.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=slave,
        )  # fmt: skip
        os.close(slave)
        said = b""
        deadline = time.monotonic() + 30
        while b"..." not in said and time.monotonic() < deadline:
            said += os.read(master, 4096)
        process.kill()
        out = process.communicate()[0]
        os.close(master)
    assert b"sixtykey: pushing the key to web-1 (i-" in said
    assert out == b""
