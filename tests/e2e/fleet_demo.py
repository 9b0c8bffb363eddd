"""`make demo-fleet`: one endpoint for four hosts, with real servers, gateways, sshds and clients.

Every line below a step is what was observed, and the exit code is 1 if a step was not as promised.
As root, hosts reach the bus over links of their own, in network namespaces.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from agent.fleet.home.home import Home
from tests.e2e.screen import BrokenPromiseError, Screen, promise
from tests.parts import command, fleet_network
from tests.parts.bus import Bus, gateway_url, lasting_port
from tests.parts.fleet_member import FleetMember, join_token
from tests.parts.fleet_network import HostNetwork
from tests.parts.gateway import RunningGateway
from tests.parts.host import login_user, work_directory
from tests.parts.keys import KeyPair, make_key
from tests.parts.pushers import Pushed, public_key_file, push_with_aws_cli
from tests.parts.sshd import RunningSshd

SERVERS, HOSTS = 3, 4
PATIENCE = 30.0
"""Seconds until every host is reachable again when a server is gone."""


class Host:
    """One host of the demo: daemon, connector, sshd, and its network link."""

    def __init__(self, member: FleetMember, sshd: RunningSshd, way: Optional[HostNetwork]) -> None:
        self.member = member
        self.sshd = sshd
        self.way = way

    @property
    def instance(self) -> str:
        """Its instance id."""
        return self.member.instance

    @property
    def name(self) -> str:
        """The name of its folder, with which it joined."""
        return self.member.directory.name


class Demo:
    """The steps in order; each shows its observations, and raises if a promise was broken."""

    def __init__(
        self, screen: Screen, bus: Bus, gateways: list[RunningGateway], hosts: list[Host], user: str
    ) -> None:
        self.screen = screen
        self.bus = bus
        self.gateways = gateways
        self.hosts = hosts
        self.user = user
        self._keys = 0

    def key(self) -> KeyPair:
        """Make a new key pair."""
        self._keys += 1
        return make_key(self.bus.servers[0].directory, f"key-{self._keys}")

    def push(self, host: Host, key: KeyPair, gateway: RunningGateway) -> Pushed:
        """Push with the AWS CLI, and show its output."""
        file = public_key_file(key.public)
        began = time.monotonic()
        pushed = push_with_aws_cli(gateway.target(host.instance), self.user, file)
        outcome = "success" if pushed.ok else f"{pushed.code}: {pushed.message.strip()}"
        took = f"({time.monotonic() - began:.1f} s)"
        self.screen.saw(f"aws … send-ssh-public-key {host.name} by {gateway.url}: {outcome} {took}")
        return pushed

    def show_fleet(self) -> None:
        """Show the parts of the fleet."""
        self.screen.step("sixtykey fleet hosts lists the connected hosts")
        shown = command.run("fleet", "hosts", "--folder", self.gateways[0].home.folder)
        self.screen.saw(shown.out.rstrip() or shown.err)
        promise(shown.code == 0, "the hosts are listed")
        promise(all(host.instance in shown.out for host in self.hosts), "every host is connected")

    def push_to_each(self, words: str, gateways: list[RunningGateway], hosts: list[Host]) -> None:
        """Push a key to each host, through alternating gateways; it opens only that host."""
        self.screen.step(words)
        keys = [self.key() for _ in hosts]
        for number, (host, key) in enumerate(zip(hosts, keys)):
            pushed = self.push(host, key, gateways[number % len(gateways)])
            promise(pushed.ok, f"the push to {host.name} succeeds")
        for host, key in zip(hosts, keys):
            logins = {each.name: each.sshd.login(self.user, key) for each in self.hosts}
            accepted = [name for name, login in logins.items() if login.accepted]
            refused = [name for name, login in logins.items() if login.refused]
            where = f"accepted by {', '.join(accepted)}, refused by {', '.join(refused)}"
            self.screen.saw(f"the key pushed to {host.name} is {where}")
            promise(accepted == [host.name], "only this host accepts the key")
            promise(len(refused) == len(self.hosts) - 1, "every other host refuses it")

    def kill_server(self) -> None:
        """Kill a server: a third of the hosts must reconnect."""
        self.screen.step("A server of the bus is killed: its hosts connect to the other servers")
        self.bus.servers[0].kill()
        began = time.monotonic()
        left = list(self.hosts)
        while left and time.monotonic() < began + PATIENCE:
            pushed = {
                host.instance: self.gateways[0].push(
                    InstanceId=host.instance, InstanceOSUser=self.user
                )
                for host in left
            }
            left = [host for host in left if pushed[host.instance].code]
        self.screen.saw(f"every host is reachable again after {time.monotonic() - began:.1f} s")
        promise(not left, f"every host is reachable again within {PATIENCE:.0f} s")

    def kill_gateway(self) -> None:
        """Kill a gateway: any other one takes the pushes."""
        self.screen.step("A gateway is killed; pushes can use any other one")
        self.gateways[0].kill()
        self.screen.saw(f"{self.gateways[0].url} is stopped")

    def cut_off(self) -> None:
        """A push to a disconnected host is refused at once."""
        host = self.hosts[-1]
        self.screen.step(
            f"{host.name} is disconnected: a push is refused at once; a local push still works"
        )
        host.member.connector.kill()
        if host.way is not None:
            host.way.cut()
        pushed = self.push(host, self.key(), self.gateways[1])
        promise(
            pushed.code == "EC2InstanceNotFoundException",
            "a push to a disconnected host is refused",
        )
        key = self.key()
        words = ("push", "--socket", host.member.daemon.push_socket, self.user, str(key.public))
        local = command.run(*words)
        promise(local.code == 0, f"a local push succeeds: {local.err}")
        login = host.sshd.login(self.user, key)
        self.screen.saw(f"sixtykey push on {host.name} itself: {login.output or login.message}")
        promise(login.accepted, "the locally pushed key is accepted")


@contextlib.contextmanager
def stage(screen: Screen, apart: bool) -> Iterator[Demo]:
    """Set up everything for the demo, and always remove it again."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(work_directory())
        user = stack.enter_context(login_user())
        address = fleet_network.BUS if apart else "127.0.0.1"
        screen.step(f"A fleet starts: {SERVERS} servers of the bus, 2 gateways")
        urls = [gateway_url(), gateway_url()]
        home = init(directory, address, urls)
        bus = stack.enter_context(Bus(home, directory))
        for server in bus.servers:
            screen.saw(f"nats-server: {server.server.url}")
        gateways = [
            stack.enter_context(RunningGateway(directory / f"gateway-{n}", home, url))
            for n, url in enumerate(urls, 1)
        ]
        for gateway in gateways:
            gateway.await_bus()
            screen.saw(f"sixtykey-gateway: {gateway.url}, connected to the bus")
        screen.step(f"{HOSTS} hosts join with a token")
        token = join_token(gateways[0], "--tag", "role=web")
        hosts = []
        for number in range(1, HOSTS + 1):
            hosts.append(join(stack, directory, gateways[0], number, token, apart))
            screen.saw(
                f"{hosts[-1].name}: {hosts[-1].instance} has joined, and is connected to the bus"
            )
        try:
            yield Demo(screen, bus, gateways, hosts, user)
        except BrokenPromiseError:
            for part in (*gateways, *(host.member.daemon for host in hosts)):
                screen.saw(part.log()[-2000:])
            raise
        screen.step("The demo removes everything that it made")
    screen.saw(f"{directory}: {'still exists' if directory.exists() else 'removed'}")
    promise(not directory.exists(), "no file is left on the disk")


def init(directory: Path, address: str, urls: list[str]) -> Home:
    """Run `sixtykey fleet init`, as an administrator does."""
    words = ["init", "--folder", str(directory / "home")]
    for url in urls:
        words += ["--gateway", url]
    for _ in range(SERVERS):
        words += ["--server", f"{address}:{lasting_port()}:{lasting_port()}"]
    words += ["--server-folder", str(directory / "bus" / "%")]
    words += ["--server-state", str(directory / "state" / "%")]
    done = command.run("fleet", *words, "--registry", str(directory / "hosts.db"))
    promise(done.code == 0, f"a fleet can be made: {done}")
    return Home(str(directory / "home"))


def join(
    stack: contextlib.ExitStack, directory: Path, gateway: RunningGateway, number: int, token: str,
    apart: bool,
) -> Host:  # fmt: skip
    """Make a host that joins the fleet, with its sshd."""
    way = stack.enter_context(HostNetwork(number)) if apart else None
    name, instance = f"web-{number}", f"i-0000000000000000{number}"
    member = FleetMember(
        directory / name, gateway, instance, name=name, token=token,
        prefix=() if way is None else way.prefix,
    )  # fmt: skip
    stack.enter_context(member)
    sshd = RunningSshd(directory / name, member.daemon.lookup_socket)
    return Host(member, stack.enter_context(sshd), way)


def run(apart: bool) -> int:
    """Run the demo and return its exit code."""
    screen = Screen(sys.stdout)
    began = time.monotonic()

    def steps() -> str:
        if apart:
            fleet_network.make_bridge()
        with stage(screen, apart) as demo:
            demo.show_fleet()
            both = demo.gateways
            demo.push_to_each("The AWS CLI pushes a key to each host", both, demo.hosts)
            demo.kill_server()
            demo.kill_gateway()
            words = "Pushes continue through the remaining gateway"
            demo.push_to_each(words, both[1:], demo.hosts)
            demo.cut_off()
        return f"Every step went as promised, in {time.monotonic() - began:.0f} s."

    return screen.show(steps)


def main() -> int:
    """Run the demo, as root in a new network namespace."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        code = fleet_network.own(["-m", "tests.e2e.fleet_demo"])
        return run(fleet_network.is_own()) if code is None else code
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
