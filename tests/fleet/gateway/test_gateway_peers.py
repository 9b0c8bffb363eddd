"""Gateways of a fleet learn of removals from each other, and say where they differ."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config.fleet_limits import FLEET
from agent.fleet.bus import nkeys, roles
from agent.fleet.bus.jwt import BadToken
from agent.fleet.bus.nkeys import KeyPair
from agent.fleet.gateway import settings
from agent.fleet.gateway.files import FleetFiles
from agent.fleet.home.home import Home
from agent.fleet.host import joining
from agent.fleet.host.joining import NoGateway
from tests.parts import command, signed
from tests.parts.bus import PATIENCE, Bus, gateway_url, make_home
from tests.parts.fleet_host import FleetHost
from tests.parts.gateway import RunningGateway
from tests.parts.host import work_directory
from tests.parts.raw import Answer


class Fleet:
    """A home with its gateway, and one on another machine: with files of its own, copied once."""

    def __init__(self, directory: Path) -> None:
        urls = [gateway_url(), gateway_url()]
        self.directory = directory
        self.home = make_home(directory, gateways=urls)
        self.bus = Bus(self.home, directory)
        self.first = RunningGateway(directory / "gw1", self.home, urls[0])
        self.state = directory / "state-2"
        self.state.mkdir()
        self.second = RunningGateway(
            directory / "gw2", self.home, urls[1], environment={"STATE_DIRECTORY": str(self.state)}
        )
        self.second.folder = Path(shutil.copytree(self.second.folder, directory / "copy"))

    def host(self, number: int) -> FleetHost:
        """A member of the fleet."""
        return FleetHost(self.home, self.directory, f"i-{number:017x}")

    def await_refusal(self, host: FleetHost) -> None:
        """Wait until the second gateway believes no answer of this host any more."""
        end = time.monotonic() + PATIENCE
        while (answer := self.push(host)).code == "" or "was removed" not in answer.body["Message"]:
            # Just after its start, the gateway is not on the bus yet.
            assert answer.code in {"", "ServiceUnavailable"}
            assert time.monotonic() < end, "the removal is not learned"
            time.sleep(0.1)

    def push(self, host: FleetHost) -> Answer:
        """A push to the host through the second gateway."""
        return self.second.push(InstanceId=host.instance)


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """A running fleet."""
    with work_directory() as directory:
        made = Fleet(directory)
        with made.bus, made.first, made.second:
            made.first.await_bus()
            made.second.await_bus()
            yield made


def test_a_removal_reaches_the_other_gateway(fleet: Fleet) -> None:
    """A removal at the home counts at the other gateway, whose files nobody has copied.

    It still counts there after a restart, while no other gateway can be asked.
    """
    with fleet.host(1) as host:
        assert fleet.push(host).code == ""
        fleet.home.revoke([host.keys.connector.public], time.time())
        fleet.second.reload()
        fleet.await_refusal(host)
        assert "removals of hosts: learned from" in fleet.second.log()
        fleet.first.stop()
        try:
            fleet.second.stop()
            fleet.second.start()
            fleet.await_refusal(host)
        finally:
            fleet.first.start()


def test_a_kept_list_that_is_damaged_is_not_used(fleet: Fleet) -> None:
    """A gateway whose kept token is another fleet's starts all the same, and asks for it again."""
    with work_directory() as directory, fleet.host(2) as host:
        fleet.home.revoke([host.keys.connector.public], time.time())
        fleet.second.stop()
        (fleet.state / "account.jwt").write_text(make_home(directory).file("account.jwt"))
        fleet.second.start()
        fleet.await_refusal(host)


def files_of(fleet: Fleet, folder: Path) -> FleetFiles:
    """The files of the second gateway, with their state in this folder."""
    return FleetFiles(settings.load(str(fleet.second.config_file)), str(folder))


def test_only_the_operator_can_tell_of_removals(fleet: Fleet, tmp_path: Path) -> None:
    """A token of another operator, of another account, or an older one changes nothing."""
    found = files_of(fleet, tmp_path)
    before = found.account
    operator = KeyPair.parse(fleet.home.secret("operator-signer.nk"), nkeys.OPERATOR)
    keys, later = fleet.home.facts.account, int(time.time()) + 3600
    stranger = KeyPair.generate(nkeys.OPERATOR)
    system = KeyPair.parse(fleet.home.secret("system.nk"), nkeys.ACCOUNT).public
    for token in (
        roles.account(stranger, keys, {}, later),
        roles.system_account(operator, system, system, later),
        roles.account(operator, keys, {}, later)[:-8] + "AAAAAAAA",
        "",
    ):
        with pytest.raises(BadToken):
            found.learn(token)
    assert not found.learn(roles.account(operator, keys, {}, before.made_at - 1))
    assert not found.learn(before.token)
    assert found.account == before
    assert list(tmp_path.iterdir()) == []
    newer = roles.account(operator, keys, {"U": 1}, later)
    assert found.learn(newer)
    assert found.revoked() == {"U": 1}
    assert files_of(fleet, tmp_path).revoked() == {"U": 1}


def test_the_state_that_gateways_exchange_has_no_secret(fleet: Fleet) -> None:
    """Anybody may ask a gateway for its state: it has public keys and the account's token only."""
    context = ssl.create_default_context(cafile=fleet.first.ca)
    url = f"{fleet.first.url}/fleet/state"
    with urllib.request.urlopen(url, context=context) as answer:  # noqa: S310 - our own gateway
        text = answer.read().decode()
    assert set(json.loads(text)) == {"account", "facts", "issuer"}
    for secret in ("issuer.key", "host-signer.nk"):
        assert fleet.home.file(secret).strip() not in text


def test_status_says_whether_gateways_differ(fleet: Fleet) -> None:
    """`fleet status` tells which gateway has other files, or is away, and what to do."""

    def status() -> command.Done:
        return command.run("fleet", "status", "--folder", fleet.home.folder)

    healthy = status()
    assert (healthy.code, healthy.out.count("as this one")) == (0, 2), healthy
    Home(fleet.home.folder).write_gateway("https://gw-9.example:8443", time.time())
    differs = status()
    assert differs.code == 1
    assert f"{fleet.second.url} (" in differs.out
    assert "DIFFERS: it has another fleet.json: copy home/gateways/" in differs.out
    assert "gw-9.example:8443" in differs.out
    shutil.copy(f"{fleet.home.folder}/fleet.json", fleet.second.folder)
    fleet.second.stop()
    try:
        away = status()
        assert (away.code, "NOT REACHABLE" in away.out) == (1, True)
    finally:
        fleet.second.start()
    shown = command.run("fleet", "status", "--json", "--folder", fleet.home.folder).json
    problems = {each["URL"]: each["Problem"] for each in shown["Gateways"]}
    assert problems[fleet.second.url] is None
    assert "NOT REACHABLE" in problems["https://gw-9.example:8443"]


def test_a_gateway_that_drips_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that sends a byte now and then is given up when its time is over."""
    home = make_home(tmp_path, gateways=[gateway_url()])
    folder = RunningGateway(tmp_path / "gw", home).folder
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "certificate.key")
    monkeypatch.setattr(joining, "_STATE", (1 << 20, 1.0))
    given_up = threading.Event()

    def drip(listener: socket.socket) -> None:
        taken = listener.accept()[0]
        with contextlib.suppress(OSError), context.wrap_socket(taken, server_side=True) as tls:
            tls.recv(4096)
            tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while not given_up.wait(0.3):
                tls.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        try:
            url = f"https://127.0.0.1:{listener.getsockname()[1]}"
            with pytest.raises(NoGateway, match=r"cannot be used|does not answer"):
                joining.fetch_state(url, Path(home.folder, "ca.pem").read_text())
        finally:
            given_up.set()
            thread.join()


def test_the_state_is_told_only_so_often(fleet: Fleet) -> None:
    """One source that asks for the long state again and again is refused, whoever it is."""
    call = signed.Call("GET", "/fleet/state", (("Host", "127.0.0.1"),), b"")
    answers = [fleet.first.send(call).status for _ in range(3 * int(FLEET.states_source))]
    assert {200, 503} == set(answers)
