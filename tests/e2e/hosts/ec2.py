"""Steps on a host like EC2's: keys from its metadata log in, and its faults stop no other login."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any, Callable

from tests.e2e.hosts import ec2_chain, ec2_corruptions, installing
from tests.e2e.hosts.host import SCRIPTS, Host
from tests.e2e.hosts.imds import (
    ADDRESSES,
    STRANGER,
    Imds,
    line,
    problem,
    wait_until,
    wait_well,
)
from tests.e2e.hosts.report import expect
from tests.parts.daemon import INSTANCE_ID, REGION, ZONE
from tests.parts.ec2_signer import CALLER, DOMAIN, REQUEST
from tests.parts.host import ROOT

GUIDE = ROOT / "docs" / "ec2.md"
UNIT = "sixtykeyd-ec2.service"


def ec2(host: Host) -> None:
    """The deb on a Debian image of EC2's, up to what its metadata may do."""
    with host.report.step("apt install on an instance of EC2's") as seen:
        host.prepare()
        tell_instance(host)
        installing.install(host, host.current)
        host.wait_active()
        seen.append(check_identity(host))
    steps(host)


def ec2_rpm(host: Host) -> None:
    """The rpm, with Debian 11 in the place of Amazon Linux 2023 (its Python and OpenSSH)."""
    with host.report.step("the rpm, self-contained, on an instance of EC2's") as seen:
        host.prepare()
        host.wait_active()
        tell_instance(host)
        host.machine.run("systemctl", "restart", "sixtykeyd.service")
        host.wait_active()
        seen.append(check_identity(host))
    steps(host)


def tell_instance(host: Host) -> None:
    """Write the instance data that cloud-init leaves on EC2."""
    data = {"platform": "ec2", "cloud_name": "aws", "instance_id": INSTANCE_ID}
    data.update(availability_zone=ZONE, region=REGION)
    host.machine.shell(
        "mkdir /run/cloud-init && cat > /run/cloud-init/instance-data.json",
        text=json.dumps({"v1": data}),
    )


def check_identity(host: Host) -> str:
    """The identity that the daemon has taken from there. Raises StepError if it is another."""
    expect(host.identity() == (INSTANCE_ID, ZONE, REGION), " ".join(host.identity()))
    return " ".join(host.identity())


def steps(host: Host) -> None:
    """The steps that hold on every EC2 host with the package installed."""
    with Imds(host) as imds:
        switch_on(host, imds)
        sandbox(host)
        login(host, imds)
        ordinary(host, imds)
        ec2_corruptions.blocks(host, imds)
        ec2_corruptions.signers(host, imds)
        misbehaviour(host, imds)
        ec2_chain.beside_theirs(host, imds)
        over_ipv6(host, imds)


def switch_on(host: Host, imds: Imds) -> None:
    """Enable it by the guide's lines; the test's root certificate is installed in the system."""
    with host.report.step("docs/ec2.md: sixtykeyd-ec2 is switched on, and asked") as seen:
        text = GUIDE.read_text("utf-8")
        (settings,) = re.findall(r"^   ```yaml\n(.*?)^   ```", text, re.DOTALL | re.MULTILINE)
        (command,) = re.findall(r"^2\. ```sh\n(.*?)^   ```", text, re.DOTALL | re.MULTILINE)
        root = imds.signer.pem("root").read_text("ascii")
        host.machine.write("/usr/local/share/ca-certificates/test-root.crt", root)
        host.machine.run("update-ca-certificates")
        host.machine.write(
            "/etc/sixtykey/config.yaml", re.sub("^   ", "", settings, flags=re.MULTILINE)
        )
        host.machine.shell(command)
        wait_well(host)
        seen.append(host.machine.shell("sixtykey status | grep ec2"))


def sandbox(host: Host) -> None:
    """The user and rights of the service, and the addresses that it can reach."""
    with host.report.step("sixtykeyd-ec2: exposure at most 1.5, no root, no capability") as seen:
        said = host.machine.shell(f"systemd-analyze security {UNIT} --no-pager | tail -1")
        exposure = re.search(r"([0-9.]+) \w+", said)
        expect(exposure is not None and float(exposure[1]) <= 1.5, said)
        pid = host.machine.shell(f"systemctl show -p MainPID --value {UNIT}")
        status = host.machine.run("cat", f"/proc/{pid}/status").stdout
        capabilities = "".join(re.findall(r"^Cap\w+:\s+(\w+)$", status, re.MULTILINE))
        expect(set(capabilities) == {"0"}, status)
        expect("Seccomp:\t2" in status and "NoNewPrivs:\t1" in status, status)
        user = host.machine.shell(f"ps -o user:20= -p {pid}")
        expect(user == "sixtykey-ec2", user)
        seen.append(f"{user}: {said}")
    with host.report.step("it reaches the metadata's two addresses, and nothing else") as seen:
        allowed = [f"{address}=80" for address in ADDRESSES]
        denied = [f"{STRANGER}=80", "127.0.0.1=22", "::1=22", f"{host.client.host}=22"]
        outside = host.machine.run("python3", f"{SCRIPTS}/ec2_sandbox.py", *denied, *allowed)
        for each in (*allowed, *denied, "datagram", "listen", "read-shadow"):
            expect(each in outside.stdout.split(), f"not even root reaches {each}")
        done = host.machine.shell(PROBE.format(unit=UNIT, words=" ".join([*denied, *allowed])))
        expect(done.split() == allowed, f"possible in the sandbox: {done}")
        seen.append(f"{len(outside.stdout.split())} things that root can do; in it: {done}")


PROBE = """\
sed -e 's/^Type=.*/Type=oneshot/; s/^WatchdogSec=.*//; s/^Restart.*//' \
    -e 's,^ExecStart=.*,ExecStart=/usr/bin/python3 -I /opt/sixtykey-e2e/ec2_sandbox.py {words},' \
    -e 's/^MemoryMax=.*/StandardOutput=file:\\/run\\/probe.out/; /^Wants=/d; /^After=/d' \
    "$(systemctl show -p FragmentPath --value {unit})" > /run/systemd/system/ec2-probe.service
systemctl daemon-reload
systemctl start ec2-probe.service
cat /run/probe.out
rm /run/systemd/system/ec2-probe.service /run/probe.out
systemctl daemon-reload
"""


def login(host: Host, imds: Imds) -> None:
    """A key that EC2's own API pushed is a lease like any other."""
    with host.report.step("a block that EC2 signs logs in, is told of, and revoked for good") as s:
        key = host.client.key("pushed")
        expect(host.client.login("alice", key) == "", "logged in before the push")
        imds.data.set_keys("alice", imds.signer.block(line(key)))
        # Like a user, try again: a busy machine may not ask the metadata within half a second.
        wait_until(functools.partial(logs_in, host, key), lambda: "not logged in after the push")
        expect(host.client.login("bob", key) == "", "logged in as another user")
        why = host.machine.run("sixtykey", "why", "alice").stdout
        expect(f"pushed by {CALLER} through EC2's own API: accepted" in why, why)
        audit = host.machine.run("journalctl", "--no-pager", "-u", "sixtykeyd").stdout
        expect(CALLER in audit and REQUEST in audit, "the audit does not name who pushed it")
        host.machine.run("sixtykey", "revoke", "alice")
        expect(host.client.login("alice", key) == "", "logged in after the revocation")
        host.machine.run("systemctl", "restart", UNIT)
        wait_well(host)
        expect(host.client.login("alice", key) == "", "logged in again after a restart")
        s.append(next(line for line in why.splitlines() if CALLER in line).strip())
        imds.data.set_keys("alice")


def ordinary(host: Host, imds: Imds) -> None:
    """The metadata requests at a login of a user without pushed keys."""
    with host.report.step("a user without keys costs one small request, by a token it has") as seen:
        before = len(imds.data.requests())
        expect(host.client.login("bob", host.client.key("stranger")) == "", "a stranger")
        asked = imds.data.requests()[before:]
        keys = [each for each in asked if each.startswith("GET ") and "/active-keys/bob/" in each]
        expect(len(keys) == 1, f"{asked}")
        expect(not any(each.startswith("PUT") for each in asked), f"a token for a login: {asked}")
        seen.append(keys[0])


HOSTILE: dict[str, dict[str, Any]] = {
    "slow": {"delay": 3}, "silent": {"drop": True}, "failing": {"status": 500},
    "sending elsewhere": {"status": 302}, "no HTTP": {"raw": "SSH-2.0-x\r\n"},
    "lying about lengths": {"raw": "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n#Timestamp=1\n"},
}  # fmt: skip


def misbehaviour(host: Host, imds: Imds) -> None:
    """Ordinary keys log in whatever the metadata does, and its keys do once it has recovered."""
    pushed, filed, stranger = (host.client.key(name) for name in ("here", "filed", "stranger"))
    host.authorize("bob", filed)

    def check() -> None:
        status, body = host.push("carol", pushed)
        expect(status == 200, f"{status} {body}")
        expect(host.client.login("carol", pushed) == "carol", "a key that was pushed here")
        # A lookup for this user asks the metadata, if it is asked at all.
        expect(host.client.login("bob", stranger) == "", "a stranger's key")
        expect(host.client.login("bob", filed) == "bob", "a key in a file")

    for how, behaviour in HOSTILE.items():
        with host.report.step(f"the metadata is {how}: ordinary keys log in") as seen:
            imds.data.behave(**behaviour)
            before = len(imds.data.requests())
            check()
            asked = len(imds.data.requests()) - before
            seen.append(f"asked {asked} times; {problem(host) or 'lookups wait for it'}")
    imds.data.behave()
    wait_well(host)
    for item, lie, truth in (
        ("instance-id", "i-00000000000000001", INSTANCE_ID),
        ("services/domain", "evil.example", DOMAIN),
        ("placement/availability-zone", "nowhere", ZONE),
    ):
        with host.report.step(
            f"the metadata lies ({item}): said, and ordinary keys log in"
        ) as seen:
            imds.data.write(item, lie)
            check()
            host.machine.run("systemctl", "restart", UNIT)
            wait_until(functools.partial(is_told, host, lie), functools.partial(problem, host))
            check()
            seen.append(host.machine.shell("sixtykey why carol | grep 'do not arrive'"))
            imds.data.write(item, truth)
            wait_well(host)
    gone(host, imds, check)


def is_told(host: Host, lie: str) -> bool:
    """Whether this is the reported reason why the metadata is not asked."""
    return lie in str(problem(host))


def gone(host: Host, imds: Imds, check: Callable[[], None]) -> None:
    """The service or the network is missing, or the source process hangs or was killed."""
    for how, begin, end in (
        ("away", imds.vanish, imds.serve),
        ("behind a cut cable", imds.disconnect, imds.connect),
        ("asked by a process that hangs", signal(host, "STOP"), signal(host, "CONT")),
        ("asked by a process that is killed", signal(host, "KILL"), signal(host, "KILL")),
    ):
        with host.report.step(f"the metadata is {how}: ordinary keys log in, then its own") as seen:
            begin()
            check()
            seen.append(str(problem(host)))
            end()
            wait_well(host)
            key = host.client.key("later")
            imds.data.set_keys("alice", imds.signer.block(line(key)))
            # A connection that was kept needs a moment until its lost packets are sent again.
            wait_until(functools.partial(logs_in, host, key), lambda: "a key of the metadata's")
            imds.data.set_keys("alice")
    host.machine.run("rm", "/home/bob/.ssh/authorized_keys")


def logs_in(host: Host, key: Path) -> bool:
    """Whether alice is admitted by this key."""
    return host.client.login("alice", key) == "alice"


def signal(host: Host, name: str) -> Callable[[], None]:
    """The command that sends a signal to sixtykeyd-ec2."""

    def send() -> None:
        host.machine.run("systemctl", "kill", "-s", name, UNIT)

    return send


def over_ipv6(host: Host, imds: Imds) -> None:
    """The same over the IPv6 address."""
    with host.report.step("the metadata's IPv6 address does as well") as seen:
        path = "/etc/sixtykey/config.yaml"
        host.machine.run("sed", "-i", f"s/{ADDRESSES[0]}/[{ADDRESSES[1]}]/", path)
        host.machine.shell(f"systemctl restart sixtykeyd.service {UNIT}")
        wait_well(host)
        key = host.client.key("six")
        imds.data.set_keys("alice", imds.signer.block(line(key)))
        wait_until(functools.partial(logs_in, host, key), lambda: "a key of the metadata's")
        seen.append(host.machine.shell(f"journalctl -o cat -u {UNIT} | tail -1"))
