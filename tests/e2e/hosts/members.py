"""The hosts of a booted fleet: machines with a link to the gateway's, and pushes to them."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from agent import __version__
from tests.e2e.hosts import roots
from tests.e2e.hosts.host import Host
from tests.e2e.hosts.machine import Machine
from tests.e2e.hosts.network import Client
from tests.e2e.hosts.report import expect

GATEWAY, BUS = "gw-1.example", "bus-1.example"
URL = f"https://{GATEWAY}:8443"
# The releases of the fleet's hosts: the connectors have different Pythons and libraries.
RELEASES = {1: "bookworm", 2: "trixie"}
# Seconds until a connector is back, with its random pause.
PATIENCE = 30.0


class Member:
    """A host of the fleet: its machine, and a client beside it that logs in."""

    def __init__(self, name: str, machine: Machine, client: Client) -> None:
        self.name = name
        self.machine = machine
        self.client = client

    @property
    def instance(self) -> list[str]:
        """Instance id, zone, region."""
        return self.machine.run("sixtykeyd", "--print-identity").stdout.split()


@contextlib.contextmanager
def member(host: Host, number: int) -> Iterator[Member]:
    """Add a machine, with a link to the gateway's, and the packages in /root."""
    name = f"{host.machine.name}-web-{number}"
    root = roots.unpack(RELEASES[number], host.work / name)
    shutil.copy(host.machine.root / "root" / host.current, root / "root")
    shutil.copy(package("sixtykey-fleet"), root / "root")
    keys = host.work / f"{name}-client"
    keys.mkdir()
    with Machine(name, root) as machine, Client(machine, 100 + number, keys) as client:
        cable(host.machine, machine, number)
        names(machine, f"10.61.{number}.1")
        # Its command would be in sshd's slot for sixtykey's; steps of the other hosts cover that.
        machine.shell("dpkg --purge systemd-userdbd")
        machine.shell("useradd -m -s /bin/bash -p '*' deploy")
        yield Member(f"web-{number}", machine, client)


def package(name: str) -> Path:
    """The package of this version, built by `make packages`."""
    return Path("dist") / f"{name}_{__version__}_all.deb"


def cable(one: Machine, other: Machine, number: int) -> None:
    """A veth between two machines: 10.61.N.1 and 10.61.N.2."""
    ends = (f"fleet{number}", "fleet0")
    subprocess.run(
        ["ip", "link", "add", ends[0], "netns", str(one.pid), "type", "veth",
         "peer", "name", ends[1], "netns", str(other.pid)], check=True,
    )  # fmt: skip
    for machine, end, last in ((one, ends[0], 1), (other, ends[1], 2)):
        machine.run("ip", "addr", "add", f"10.61.{number}.{last}/24", "dev", end)
        machine.run("ip", "link", "set", end, "up")


def names(machine: Machine, address: str) -> None:
    """Write the names of gateway and bus into /etc/hosts, for a network without DNS."""
    machine.shell(f"echo '{address} {GATEWAY} {BUS}' >> /etc/hosts")


def block(machine: Machine, text: str, **environ: str) -> str:
    """Run a block as root in /root; return its output. StepError when a line fails."""
    given = "".join(f"export {name}='{value}'\n" for name, value in environ.items())
    done = machine.run("sh", "-euc", f"cd /root\n{given}{text}", check=False)
    expect(done.returncode == 0, f"exit {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def await_log(machine: Machine, unit: str, words: str) -> None:
    """Wait until a unit's log contains these words."""
    end = time.monotonic() + PATIENCE
    while True:
        log = machine.run("journalctl", "--no-pager", "-u", unit, "-o", "cat").stdout
        if words in log:
            return
        expect(time.monotonic() < end, f"{unit}: no {words!r}:\n{log[-2500:]}")
        time.sleep(0.1)


def push(
    host: Host, each: Member, key: Path, secret: tuple[str, str], client: str = "aws"
) -> subprocess.CompletedProcess[str]:
    """Push through the gateway over TLS from the client's machine, by the AWS CLI or boto3."""
    instance, zone, region = each.instance
    environ = {
        "AWS_ACCESS_KEY_ID": secret[0], "AWS_SECRET_ACCESS_KEY": secret[1],
        "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": region, "AWS_DEFAULT_REGION": region,
        "AWS_CA_BUNDLE": str(host.work / "ca.pem"), "AWS_MAX_ATTEMPTS": "1",
    }  # fmt: skip
    if client == "boto3":
        program = (
            "import boto3, sys; e, i, z, k = sys.argv[1:];"
            "c = boto3.client('ec2-instance-connect', endpoint_url=e);"
            "print(c.send_ssh_public_key(InstanceId=i, AvailabilityZone=z, InstanceOSUser='deploy',"
            " SSHPublicKey=open(k).read())['Success'])"
        )
        words = [sys.executable, "-c", program, URL, instance, zone, f"{key}.pub"]
    else:
        words = [
            str(Path(sys.executable).parent / "aws"), "ec2-instance-connect",
            "send-ssh-public-key", "--instance-id", instance, "--availability-zone", zone,
            "--instance-os-user", "deploy", "--ssh-public-key", f"file://{key}.pub",
            "--endpoint-url", URL,
        ]  # fmt: skip
    # The name of the gateway, for a program of this machine in the client's network.
    hosts = host.work / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n{host.client.host} {GATEWAY}\n")
    own = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        'mount --bind "$0" /etc/hosts && exec "$@"',
        str(hosts),
    ]
    return host.client.run(*own, *words, environ=environ)
