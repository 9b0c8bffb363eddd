"""The user's side with a real ssh, agent, daemon and sshd."""

from __future__ import annotations

import itertools
import os
import subprocess
from pathlib import Path

import pytest

from tests.parts.host import tool
from tests.parts.keys import make_key
from tests.parts.world import World, good


def test_ssh_just_works(world: World) -> None:
    """The first ssh of a session makes a key, pushes it and logs in, without further output."""
    done = world.user.ssh(world.place, "id -un")
    assert done.code == 0, done
    assert (done.code, done.out, done.err) == (0, f"{world.login}\n", "")
    assert len(world.user.agent_keys()) == 1


def test_each_connection_pushes(world: World) -> None:
    """Each connection pushes when it is not known whether the host's keys have unlimited uses."""
    for _ in range(2):
        good(world.user.ssh(world.place, "true"))
    assert world.pushes() == 2


def test_a_live_lease_of_an_unlimited_key_is_not_pushed_again(world: World) -> None:
    """While a lease with unlimited uses lives, no further push is made for that OS user."""
    settings = world.stage.settings
    unlimited = {**settings["hosts"]["web-*"], "uses": "unlimited", "lifetime": 60}
    world.user.settings({**settings, "hosts": {"web-*": unlimited}})
    for _ in range(3):
        good(world.user.ssh(world.place, "true"))
    assert world.pushes() == 1
    assert world.user.ssh("nobody-at-all@web-1", "true").code == 255
    assert world.pushes() == 2


def test_a_key_that_is_there_costs_no_start_of_ours(world: World) -> None:
    """If the key exists, ssh starts the proxy only, and not `sixtykey login`."""
    good(world.user.ssh(world.place, "true"))
    world.user.environment["PYTHONPROFILEIMPORTTIME"] = "1"
    said = good(world.user.ssh(world.place, "true")).err
    assert "agent.commands.proxy" in said
    assert "agent.commands.login" not in said


def test_scp_and_sftp_copy_files(world: World) -> None:
    """scp and sftp copy files in both directions."""
    there, here = world.share("there"), world.user.home / "here"
    here.write_text("over scp\n")
    scp = (tool("scp", "openssh-client"), "-q", "-F", str(world.user.config))
    good(world.user.do(*scp, str(here), f"{world.place}:{there}/a"))
    good(world.user.do(*scp, f"{world.place}:{there}/a", str(world.user.home / "back")))
    assert (world.user.home / "back").read_text() == "over scp\n"
    sftp = (tool("sftp", "openssh-client"), "-q", "-b", "-", "-F", str(world.user.config))
    good(world.user.do(*sftp, world.place, text=f"put {here} {there}/b\n"))
    assert (there / "b").read_text() == "over scp\n"


def test_rsync_copies_a_folder(world: World) -> None:
    """rsync copies a folder to the host."""
    there, here = world.share("there"), world.user.home / "tree"
    (here / "below").mkdir(parents=True)
    (here / "below" / "file").write_text("over rsync\n")
    rsync = (tool("rsync", "rsync"), "-r", "-e", world.with_config)
    good(world.user.do(*rsync, f"{here}/", f"{world.place}:{there}"))
    assert (there / "below" / "file").read_text() == "over rsync\n"


def test_git_clones(world: World) -> None:
    """git clones a repository of the host over ssh."""
    git = tool("git", "git")
    repository = world.share("repository.git")
    good(world.user.do(git, "init", "-q", "--bare", str(repository)))
    # git refuses to serve a repository of another user.
    subprocess.run(["chown", "-R", world.login, str(repository)], check=os.geteuid() == 0)
    world.user.environment["GIT_SSH_COMMAND"] = world.with_config
    clone = world.user.home / "clone"
    done = world.user.do(git, "clone", "-q", f"ssh://{world.place}{repository}", str(clone))
    assert (clone / ".git").is_dir(), done


def test_a_second_session_over_a_master_pushes_nothing(world: World) -> None:
    """A second session over a ControlMaster connection pushes nothing."""
    control = ("-o", f"ControlPath={world.folder}/control", "-o", "ControlPersist=yes")
    good(world.user.ssh("-M", "-N", "-f", *control, world.place))
    try:
        assert good(world.user.ssh(*control, world.place, "id -un")).out == f"{world.login}\n"
        assert world.pushes() == 1
    finally:
        good(world.user.ssh("-O", "exit", *control, world.place))


def test_twenty_connections_at_once_log_in(world: World) -> None:
    """The first twenty connections, started together, all log in with one key."""
    command = [tool("ssh", "openssh-client"), "-F", str(world.user.config), world.place, "id -un"]
    started = [
        subprocess.Popen(command, env=world.user.environment, stdout=subprocess.PIPE, text=True)
        for _ in range(20)
    ]
    assert [each.communicate(timeout=100)[0] for each in started] == [f"{world.login}\n"] * 20
    assert len(world.user.agent_keys()) == 1


def test_an_agent_full_of_keys_is_no_obstacle(world: World) -> None:
    """Only our key is offered, so an agent with many keys does not exhaust sshd's attempts."""
    for number in range(8):
        key = make_key(world.user.home, f"other{number}")
        good(world.user.do(tool("ssh-add", "openssh-client"), "-q", str(key.private)))
    good(world.user.ssh(world.place, "true"))
    assert world.sshd.log().count("Failed publickey") == 0


def test_bytes_are_relayed_where_no_socket_is_wanted(world: World) -> None:
    """Without ProxyUseFdpass the proxy relays all bytes and the end of each direction."""
    there = world.share("there")
    data = os.urandom(1 << 20).hex()
    done = subprocess.run(
        [tool("ssh", "openssh-client"), "-F", str(world.user.config), "-o", "ProxyUseFdpass=no",
         world.place, f"tee {there}/data | wc -c; cat {there}/data"],
        env=world.user.environment, input=data, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{len(data)}\n{data}"


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh"])
def test_the_block_works_with_every_shell(world: World, shell: str) -> None:
    """The ssh_config block works with sh, bash and zsh as the user's shell."""
    world.user.environment["SHELL"] = tool(shell, shell)
    assert good(world.user.ssh(world.place, "id -un")).out == f"{world.login}\n"


def test_host_names_cannot_run_commands(world: World) -> None:
    """Shell syntax in a host or user name is not run, in any shell."""
    marker = world.user.home / "marker"
    names = (f"web-'$(touch {marker})'", f"web-\\'$(touch {marker})", "web-$(id)`id`")
    for shell, name in itertools.product(("sh", "bash", "zsh"), names):
        world.user.environment["SHELL"] = tool(shell, shell)
        world.user.do(
            tool("ssh", "openssh-client"), "-F", str(world.user.config), "-l", world.login, name,
            "true",
        )  # fmt: skip
        world.user.do(
            tool("ssh", "openssh-client"), "-F", str(world.user.config), "-l", name, "web-1", "true"
        )  # fmt: skip
    assert not marker.exists()


def test_nothing_private_is_on_disk_and_what_is_lets_nobody_in(world: World) -> None:
    """No file below the home has the private key or the secret, and its files log nobody in.

    The agent, and the session's folder in memory, are gone after a power-off, so they are not
    searched.
    """
    good(world.user.ssh(world.place, "true"))
    blob = (world.user.folder / "id.pub").read_text().split()[1]
    files = [path for path in world.user.home.rglob("*") if path.is_file()]
    assert world.user.folder / "id.pub" in files
    for path in [*files, *Path("/tmp").glob("ssh-*/*")]:
        if not path.is_file():
            continue
        content = path.read_bytes()
        assert b"PRIVATE KEY" not in content, path
        assert world.user.environment["AWS_SECRET_ACCESS_KEY"].encode() not in content, path
        # The public key is in no file but id.pub: a private key's file would contain it too.
        assert blob.encode() not in content or path.name == "id.pub", path
    # A thief has the files and the host's address, but not the agent.
    world.user.environment["SSH_AUTH_SOCK"] = ""
    refused = world.user.do(
        tool("ssh", "openssh-client"), "-F", "none", "-p", str(world.sshd.port), "-o",
        "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes",
        "-i", str(world.user.folder / "id.pub"), f"{world.login}@127.0.0.1", "true",
    )  # fmt: skip
    assert refused.code == 255
    assert "Permission denied" in refused.err


def test_ansible_reaches_a_host_through_its_ssh_plugin(world: World) -> None:
    """`ansible -m ping`, unchanged, copies its module to the host and runs it there."""
    home, there = world.user.home, world.share("there")
    (home / "inventory").write_text(
        f"web-1 ansible_user={world.login} ansible_remote_tmp={there} "
        "ansible_python_interpreter=/usr/bin/python3\n"
    )
    world.user.environment.update(
        ANSIBLE_HOME=str(home / "ansible"),
        ANSIBLE_SSH_ARGS=f"-F {world.user.config}",
        ANSIBLE_SSH_CONTROL_PATH_DIR=str(Path(world.folder) / "cp"),
        ANSIBLE_FORCE_COLOR="0",
    )
    ansible = tool("ansible", "ansible-core (PyPI)")
    done = world.user.do(ansible, "-i", "inventory", "-c", "ssh", "all", "-m", "ping")
    assert '"ping": "pong"' in good(done).out
    assert world.pushes() >= 1
