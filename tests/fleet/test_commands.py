"""The `sixtykey fleet` commands, at a home with a running gateway and a running server."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.fleet.home.home import Home
from tests.parts.bus import Bus, gateway_url, lasting_port
from tests.parts.command import Done, run
from tests.parts.daemon import INSTANCE_ID, ZONE
from tests.parts.gateway import RunningGateway
from tests.parts.host import work_directory

OTHER = "i-00000000000000002"


class Fleet:
    """A home made by `sixtykey fleet init`, with its gateway and its server running."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.url = gateway_url()
        self.folder = directory / "gateway"
        self.made = self.home(
            "init", "--gateway", self.url, "--gateway", "https://gw-2.example",
            "--server", f"127.0.0.1:{lasting_port()}:{lasting_port()}",
            "--server-folder", str(directory / "bus" / "%"),
            "--server-state", str(directory / "state" / "%"),
            "--registry", str(directory / "registry" / "hosts.db"), "--json",
        )  # fmt: skip

    def home(self, *words: str) -> Done:
        """Run `sixtykey fleet` at the home."""
        return run("fleet", *words, "--folder", str(self.folder))

    def token(self, *words: str) -> str:
        """A new join token for hosts called web-*."""
        done = self.home("token", "--hosts", "web-*", "--json", *words)
        assert done.code == 0, done
        return str(done.json["Token"])


class JoiningHost:
    """The folder and configuration of a host that joins."""

    def __init__(self, directory: Path, instance: str = INSTANCE_ID) -> None:
        directory.mkdir()
        self.folder = directory / "fleet"
        self.config = directory / "config.yaml"
        self.config.write_text(
            f"# Written by hand.\ninstance:\n  id: {instance}\n  availability_zone: {ZONE}\n"
        )

    def fleet(self, *words: str) -> Done:
        """Run `sixtykey fleet` on the host."""
        places = ("--host-folder", str(self.folder), "--config", str(self.config))
        return run("fleet", *words, *places)

    @property
    def section(self) -> Any:
        """The configuration's fleet section."""
        return yaml.safe_load(self.config.read_text()).get("fleet")

    def files(self) -> dict[str, str]:
        """The mode of each file in the host's folder."""
        return {file.name: oct(stat.S_IMODE(file.stat().st_mode)) for file in self.folder.iterdir()}


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """A fleet with a gateway and a server."""
    with work_directory() as directory:
        made = Fleet(directory)
        home = Home(str(made.folder))
        with Bus(home, directory), RunningGateway(directory / "gw", home) as gateway:
            gateway.await_bus()
            yield made


def test_init_makes_a_home_that_only_root_can_read(fleet: Fleet) -> None:
    """`fleet init` makes a home that only root can enter, and files that others cannot read."""
    assert fleet.made.code == 0
    told = fleet.made.json
    assert set(told["Gateways"]) == {"https://gw-2.example"}
    assert all(
        Path(path).is_dir() for path in [*told["Servers"].values(), *told["Gateways"].values()]
    )
    assert stat.S_IMODE((fleet.folder / "home").stat().st_mode) == 0o700
    for path in (fleet.folder / "home" / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for name in ("issuer.key", "host-signer.nk", "gateway.creds", "certificate.key"):
        assert stat.S_IMODE((fleet.folder / name).stat().st_mode) == 0o640


def test_a_home_is_not_made_twice(fleet: Fleet) -> None:
    """A second `fleet init` is refused and changes nothing."""
    before = (fleet.folder / "issuer.key").read_text()
    again = fleet.home("init", "--gateway", "https://a.example", "--server", "b")
    assert (again.code, again.out) == (1, "")
    assert "already" in again.err
    assert (fleet.folder / "issuer.key").read_text() == before


def test_a_host_joins_renews_and_leaves(fleet: Fleet, tmp_path: Path) -> None:
    """A host joins, renews and leaves; the modes of its files protect the signing key."""
    host = JoiningHost(tmp_path / "host")
    joined = host.fleet("join", fleet.url, fleet.token("--tag", "role=web"), "--name", "web-1")
    assert joined.code == 0, joined
    assert f"{INSTANCE_ID} (web-1) has joined" in joined.out
    assert host.files() == {
        "host.key": "0o640", "host.creds": "0o640", "host.cert": "0o644", "ca.pem": "0o644",
    }  # fmt: skip
    section = host.section
    assert section["gateways"] == [fleet.url, "https://gw-2.example"]
    assert section["issuers"] == [str(Home(str(fleet.folder)).facts.issuers[0])]
    assert section["key"] == str(host.folder / "host.key")
    assert host.config.read_text().startswith("# Written by hand.\n")
    before = (host.folder / "host.cert").read_text()
    renewed = host.fleet("renew", "--json")
    assert renewed.code == 0, renewed
    assert renewed.json["Tags"] == {"role": "web"}
    assert (host.folder / "host.cert").read_text() != before
    left = host.fleet("leave")
    assert (left.code, list(host.folder.iterdir()), host.section) == (0, [], None)
    assert "fleet remove" not in left.out


def test_a_token_is_read_from_stdin(fleet: Fleet, tmp_path: Path) -> None:
    """With - a host reads the token from stdin, where other users cannot see it."""
    host = JoiningHost(tmp_path / "host", "i-0000000000000000a")
    words = ("fleet", "join", fleet.url, "-", "--name", "web-a", "--host-folder", str(host.folder))
    joined = run(*words, "--config", str(host.config), text=fleet.token() + "\n")
    assert (joined.code, "has joined the fleet" in joined.out) == (0, True), joined


def test_a_join_beyond_the_token_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    """A join that its token does not allow is refused, and nothing is written."""
    host, token = JoiningHost(tmp_path / "host", OTHER), fleet.token()
    refusals = {
        "called web-*": ("join", fleet.url, token, "--name", "db-1"),
        "token is for": ("join", "https://127.0.0.1:1", token, "--name", "web-1"),
        "not a join token": ("join", fleet.url, "sixtykey", "--name", "web-1"),
        "signature": ("join", fleet.url, token[:-8] + "AAAAAAAA", "--name", "web-1"),
    }
    for words, command in refusals.items():
        done = host.fleet(*command)
        assert done.code == 1, done
        assert words in done.err or "canonical" in done.err
    assert not host.folder.exists() or "host.creds" not in host.files()
    assert host.section is None
    JoiningHost(tmp_path / "first", "i-00000000000000003").fleet(
        "join", fleet.url, token, "--name", "web-3"
    )
    used = host.fleet("join", fleet.url, token, "--name", "web-1")
    assert (used.code, "used 1 times" in used.err) == (1, True)


def test_a_gateway_in_between_is_found_out(fleet: Fleet, tmp_path: Path) -> None:
    """A gateway with a certificate of another authority than the token names is refused."""
    with work_directory() as directory:
        stranger = Fleet(directory)
        token = fleet.token()
        # The same address with another authority, as a man in the middle would have it.
        home = Home(str(stranger.folder))
        with RunningGateway(directory / "gw", home) as gateway:
            forged = stranger.home("token", "--hosts", "*", "--json").json
            assert forged["URL"] == gateway.url
            host = JoiningHost(tmp_path / "host", OTHER)
            text = _with_url(fleet, stranger.url)
            done = host.fleet("join", stranger.url, text, "--name", "web-1")
    assert done.code == 1
    assert "another authority" in done.err
    del token


def _with_url(fleet: Fleet, url: str) -> str:
    """A token of this fleet with the URL of another gateway."""
    from dataclasses import replace

    from agent.fleet.messages.tokens import JoinToken

    token, _ = JoinToken.parse(fleet.token())
    return replace(token, url=url).dump(Home(str(fleet.folder)).issuer())


def test_a_removed_host_is_out_at_once(fleet: Fleet, tmp_path: Path) -> None:
    """A removed host cannot renew, and may join again."""
    host = JoiningHost(tmp_path / "host", "i-00000000000000004")
    assert host.fleet("join", fleet.url, fleet.token(), "--name", "web-4").code == 0
    removed = fleet.home("remove", "web-4", "--json")
    assert removed.code == 0, removed
    assert removed.json["Removed"] == ["i-00000000000000004"]
    assert removed.json["Missing"] == []
    refused = host.fleet("renew")
    assert (refused.code, "removed" in refused.err) == (1, True)
    assert host.fleet("leave").code == 0
    assert host.fleet("join", fleet.url, fleet.token(), "--name", "web-4").code == 0
    unknown = fleet.home("remove", "nobody")
    assert (unknown.code, "no host has joined as nobody" in unknown.err) == (1, True)


def test_keys_rotate_step_by_step(fleet: Fleet, tmp_path: Path) -> None:
    """A rotation takes three steps.

    Each step waits until all hosts have renewed, and names those that have not.
    """
    host = JoiningHost(tmp_path / "host", "i-00000000000000005")
    assert host.fleet("join", fleet.url, fleet.token(), "--name", "web-5").code == 0
    old = host.section["issuers"]
    first = fleet.home("rotate", "--json").json
    assert (first["Stage"], first["Issuers"][:1]) == ("introduced", old)
    waiting = fleet.home("rotate")
    assert (waiting.code, "not yet" in waiting.err) == (1, True)
    assert "i-00000000000000005" in waiting.err
    _renew_all(fleet, host)
    assert host.section["issuers"] == first["Issuers"]
    second = fleet.home("rotate", "--json").json
    assert (second["Stage"], second["Issuers"]) == ("swapped", first["Issuers"][::-1])
    _renew_all(fleet, host)
    third = fleet.home("rotate", "--json").json
    assert (third["Stage"], third["Issuers"]) == ("none", second["Issuers"][:1])
    assert host.fleet("renew").code == 0
    assert host.section["issuers"] == third["Issuers"]
    assert JoiningHost(tmp_path / "next", OTHER).fleet(
        "join", fleet.url, fleet.token(), "--name", "web-6"
    ).code == 0  # fmt: skip


def _renew_all(fleet: Fleet, host: JoiningHost) -> None:
    """Renew this host, and remove the other hosts of this module."""
    from agent.fleet.home.registry import SqliteRegistry

    registry = SqliteRegistry(Home(str(fleet.folder)).facts.registry)
    for known in registry.hosts():
        if known.gone_at is None and known.certificate.host != "i-00000000000000005":
            registry.remove(known.certificate.host, 0.0)
    done = host.fleet("renew")
    assert done.code == 0, done


def test_a_new_server_or_gateway_gets_its_folder(fleet: Fleet, tmp_path: Path) -> None:
    """A new server or gateway gets a folder with all facts; `fleet remove` names the others."""
    server = fleet.home("server", "bus-9.example", "--json").json
    text = (Path(server["Folder"]) / "nats-server.conf").read_text()
    assert str(Home(str(fleet.folder)).facts.servers[0].cluster_port) in text
    gateway = fleet.home("gateway", "https://gw-9.example:443", "--json").json
    facts = json.loads((Path(gateway["Folder"]) / "fleet.json").read_text())
    assert "https://gw-9.example:443" in facts["gateways"]
    assert "bus-9.example:4222:6222" in facts["servers"]
    assert not os.path.exists(os.path.join(gateway["Folder"], "home"))
    host = JoiningHost(tmp_path / "host", "i-00000000000000009")
    assert host.fleet("join", fleet.url, fleet.token(), "--name", "web-9").code == 0
    removed = fleet.home("remove", "web-9")
    assert "the other gateways ask for it twice a minute" in removed.out


@pytest.mark.parametrize(
    "words",
    [
        ("init",),
        ("init", "--gateway", "http://a", "--server", "b"),
        ("init", "--gateway", "https://a/b", "--server", "b"),
        ("init", "--gateway", "https://a", "--server", "b:c"),
        ("token",),
        ("token", "--hosts", "*", "--lifetime", "1y"),
        ("token", "--hosts", "*", "--uses", "0"),
        ("token", "--hosts", "*", "--tag", "role"),
        ("token", "--hosts", "[z-a]"),
        ("token", "--hosts", "*", "--name", "x"),
        ("join", "https://a"),
        ("renew", "x"),
        ("leave", "x"),
        ("remove",),
        ("rotate", "x"),
        ("server",),
        ("gateway", "ftp://x"),
        ("frobnicate",),
        (),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_2(words: tuple[str, ...]) -> None:
    """A wrong command line exits with code 2 and a message, and does nothing."""
    done = run("fleet", *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("sixtykey fleet: ")
