"""What users of a fleet's gateway get: host names, tags, host keys and error messages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.daemon import CREDENTIAL
from tests.parts.host import ROOT, tool, work_directory
from tests.parts.sshd import RunningSshd
from tests.parts.world import TIGHT, Stage, World, a_fleet, good, one_host, somebody


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """A gateway and one host, web-1, which has the tag role=web."""
    with a_fleet() as made:
        yield made


def knows_no_host(world: World) -> None:
    """Empty the user's known_hosts file, so that ssh has to refuse unknown hosts."""
    (world.user.home / "known_hosts").write_text("")


def test_host_keys_come_from_the_gateway(world: World) -> None:
    """ssh accepts a new host without a question, because the gateway supplies its host key."""
    knows_no_host(world)
    assert good(world.user.ssh(world.place, "id -un")).out == f"{world.login}\n"
    told = world.user.sixtykey("known-hosts", f"[web-1]:{world.sshd.port}").out
    key = (world.sshd.directory / "host_key.pub").read_text().split()[:2]
    assert told == f"[web-1]:{world.sshd.port} {' '.join(key)}\n"


def test_a_live_lease_is_not_pushed_again(world: World) -> None:
    """A live lease with unlimited uses, as the gateway reports it, is not pushed again."""
    settings = world.stage.settings
    world.user.settings({**settings, "hosts": {"web-*": {}}})
    for _ in range(3):
        good(world.user.ssh(world.place, "true"))
    assert world.pushes() == 1
    (host,) = good(world.user.sixtykey("hosts", "--json")).json["Hosts"]
    assert (host["Lifetime"], host["Uses"]) == (60, "unlimited")
    # A credential with stricter rules is told those.
    world.user.environment["AWS_ACCESS_KEY_ID"] = TIGHT["access_key_id"]
    (host,) = good(world.user.sixtykey("hosts", "--json")).json["Hosts"]
    assert (host["Lifetime"], host["Uses"]) == (20, "once")


def test_a_single_host_is_known_by_sshs_own_rules() -> None:
    """Without a fleet StrictHostKeyChecking decides, and an unknown host is refused."""
    with one_host() as stage, somebody(stage) as world:
        knows_no_host(world)
        refused = world.user.ssh(world.place, "true")
        assert refused.code == 255
        assert "Host key verification failed" in refused.err


def test_another_host_key_than_the_fleets_is_refused(world: World) -> None:
    """A server with another host key than the fleet's is refused."""
    knows_no_host(world)
    with work_directory() as folder, RunningSshd(folder, world.daemon.lookup_socket) as other:
        refused = world.user.ssh("-p", str(other.port), world.place, "true")
    assert refused.code == 255
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in refused.err


@pytest.mark.parametrize("name", ["web-1", "WEB-1", "i-0f1e2d3c4b5a69788", "role=web", "127.0.0.1"])
def test_a_host_is_found_by_each_of_its_names(world: World, name: str) -> None:
    """A host is found by its name, instance id, tag or address."""
    block = good(world.user.sixtykey("ssh-config", name)).out
    known = world.user.home / "known"
    line = world.sshd.known_hosts.read_text().split(" ", 1)[1]
    known.write_text(f"[{name.lower()}]:{world.sshd.port} {line}")
    world.user.config.write_text(
        f"{block}Host *\n Port {world.sshd.port}\n UserKnownHostsFile {known}\n BatchMode yes\n"
    )
    done = world.user.ssh(f"{world.login}@{name}", "id -un")
    assert good(done).out == f"{world.login}\n"


def test_hosts_lists_what_may_be_pushed_to(world: World) -> None:
    """`hosts` lists the hosts that match names, patterns and tags; no match is an error."""
    listed = good(world.user.sixtykey("hosts")).out.splitlines()
    assert listed[0].split() == ["NAME", "INSTANCE", "ZONE", "ADDRESSES", "TAGS"]
    assert listed[1].split() == [
        "web-1", world.daemon.instance_id, "us-east-2b", "127.0.0.1", "role=web",
    ]  # fmt: skip
    for pattern in ("web-*", "role=web", world.daemon.instance_id):
        found = good(world.user.sixtykey("hosts", "--json", pattern)).json["Hosts"]
        assert [host["InstanceId"] for host in found] == [world.daemon.instance_id]
    none = world.user.sixtykey("hosts", "db-*", "role=db")
    assert (none.code, none.out) == (1, "")
    assert "no such host" in none.err


def test_completion_knows_the_hosts(world: World) -> None:
    """bash and zsh complete known host names and those of client.yaml, without a request."""
    settings = world.stage.settings
    world.user.settings({**settings, "hosts": {"db-9": {}, "web-*": {}}})
    good(world.user.sixtykey("hosts"))
    offered = good(world.user.sixtykey("hosts", "--kept", "--names", "--endpoint", "http://x"))
    assert offered.out == "db-9\nweb-1\n"
    script = ROOT / "packaging" / "completion" / "bash" / "sixtykey"
    for word, expected in (("", "db-9 web-1"), ("w", "web-1"), ("root@w", "root@web-1")):
        program = (
            f"source {script}; COMP_WORDS=(sixtykey ssh '{word}'); COMP_CWORD=2; _sixtykey; "
            'echo "${COMPREPLY[@]}"'
        )
        done = world.user.do("bash", "--norc", "-c", program)
        assert good(done).out.split() == expected.split()
    zsh = ROOT / "packaging" / "completion" / "zsh" / "_sixtykey"
    program = (
        "_arguments() { :; }; compset() { :; }; compadd() { print -r -- ${(P)2} }; "
        f"words=(sixtykey ssh ''); CURRENT=3; _main() {{ {zsh.read_text()} }}; _main; "
        "_sixtykey_hosts"
    )
    done = world.user.do(tool("zsh", "zsh"), "-f", "-c", program)
    assert good(done).out == "db-9 web-1\n"


def test_an_unknown_host_is_reported(world: World) -> None:
    """The error for an unknown host names the host, the endpoint and `sixtykey hosts`."""
    done = world.user.sixtykey("proxy", world.login, "web-77", "22")
    assert (done.code, done.out) == (1, "")
    assert "web-77: https://127.0.0.1:" in done.err
    assert "sixtykey hosts" in done.err


def test_a_refusal_says_who_asked_whom_and_what_to_do(world: World) -> None:
    """The message of a refused push gives the error's name, the endpoint and a hint."""
    environment = world.user.environment
    good(world.user.sixtykey("login"))
    for change, code, hint in (
        ({"AWS_ACCESS_KEY_ID": "AKIAUNKNOWN"}, "InvalidClientTokenId", "check the profile"),
        ({"AWS_SECRET_ACCESS_KEY": "x" * 40}, "AuthException", "the secret is wrong"),
    ):
        before = dict(environment)
        environment.update(change)
        done = world.user.sixtykey("proxy", world.login, "web-1", "22")
        environment.update(before)
        assert (done.code, done.out) == (4, "")
        assert f"was refused, {code}: " in done.err
        assert hint in done.err
        assert "asked: https://127.0.0.1:" in done.err
        assert CREDENTIAL["secret_access_key"] not in done.err


def test_why_is_answered_through_the_gateway(world: World) -> None:
    """`why USER@HOST` over a fleet shows a user their own pushes, and whether sshd got the key.

    The gateway adds what it refused. Another credential's user is told of nothing.
    """
    good(world.user.ssh(world.place, "true"))
    said = good(world.user.sixtykey("why", world.place)).out
    own = good(world.user.do(tool("ssh-add", "openssh-client"), "-l")).out.split()[1]
    assert f"sshd asked for {own}: given" in said
    assert f"pushed by {CREDENTIAL['access_key_id']}: accepted" in said
    shown = good(world.user.sixtykey("why", "--json", world.place)).json
    assert shown["InstanceId"] == world.daemon.instance_id
    # What the gateway refused never reached the host.
    gateway = world.stage.gateway
    assert gateway is not None
    where = {"InstanceOSUser": world.login, "InstanceId": world.daemon.instance_id}
    assert gateway.push(SSHPublicKey="ssh-ed25519 " + "A" * 80, **where).code != ""
    newest = good(world.user.sixtykey("why", world.place)).out.splitlines()[0]
    assert "at the gateway: a key pushed by" in newest
    assert "refused, InvalidArgsException" in newest
    world.user.environment["AWS_ACCESS_KEY_ID"] = TIGHT["access_key_id"]
    nothing = world.user.sixtykey("why", world.place)
    assert nothing.code == 1
    assert "has no record of a push by you" in nothing.out
    unknown = world.user.sixtykey("why", f"{world.login}@web-77")
    assert (unknown.code, "has no such host" in unknown.err) == (1, True)


def test_a_gateway_that_is_not_trusted_is_not_asked(world: World) -> None:
    """Without the fleet's authority the TLS connection fails, and the message names the setting."""
    settings = {key: value for key, value in world.stage.settings.items() if key != "ca"}
    world.user.settings(settings)
    done = world.user.sixtykey("proxy", world.login, "web-1", "22")
    assert done.code == 3
    assert "certificate is not trusted: set `ca`" in done.err
    missing = {**settings, "ca": str(Path("/nonexistent/ca.pem"))}
    world.user.settings(missing)
    done = world.user.sixtykey("proxy", world.login, "web-1", "22")
    assert "/nonexistent/ca.pem: No such file" in done.err
