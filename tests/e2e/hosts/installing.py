"""Steps: before the package, its installation, and its result."""

from __future__ import annotations

import json
import re

from tests.e2e.hosts.host import SCRIPTS, Host
from tests.e2e.hosts.report import expect


def before(host: Host) -> None:
    """Record the state that must be restored after the package's removal."""
    with host.report.step("the host before: booted, sshd as the distribution has it") as seen:
        host.prepare()
        host.sshd_before = host.sshd()
        host.files_before = host.files()
        versions = host.machine.shell(
            "systemctl --version | head -1; ssh -V 2>&1; python3 --version; "
            "sshd -T | grep -i ^authorizedkeyscommand"
        )
        seen.append(f"booted in {host.machine.boot_seconds:.1f} s; {versions}")


def install(host: Host, package: str) -> str:
    """Install a package by apt without a network; return the output."""
    done = host.machine.run("apt-get", "install", "-y", f"/root/{package}")
    return done.stdout + done.stderr


def fresh_install(host: Host, package: str) -> None:
    """The package on a host whose sshd has no command yet."""
    with host.report.step(f"apt install {package}") as seen:
        said = install(host, package)
        seen.extend(line for line in said.splitlines() if line.startswith("sixtykey: "))
        expect("sshd asks it for keys" in said, said)
        host.wait_active()


def service(host: Host) -> None:
    """Check service, sockets, users, exposure and capabilities."""
    with host.report.step("service active, sockets right, users and groups there") as seen:
        host.wait_active()
        modes = host.machine.shell("find /run/sixtykey -printf '%M %u %g %p\\n'") + "\n"
        seen.append(modes)
        for line in (
            "drwxr-xr-x root root /run/sixtykey\n",
            "drwx------ sixtykey sixtykey /run/sixtykey/journal\n",
            "drwxr-xr-x sixtykey sixtykey /run/sixtykey/handed\n",
            "srw-rw---- root sixtykey-lookup /run/sixtykey/lookup.sock\n",
            "srw-rw---- root sixtykey-push /run/sixtykey/push.sock\n",
            "-rw------- sixtykey sixtykey /run/sixtykey/journal/leases.db\n",
        ):
            expect(line in modes, modes)
        members = host.machine.shell("getent group sixtykey-push").rpartition(":")[2]
        expect(members == "", f"the group of pushers is not empty: {members}")
        enabled = host.machine.shell(
            "systemctl is-enabled sixtykeyd.service sixtykeyd-lookup.socket "
            "sixtykeyd-push.socket sixtykeyd-https.socket || true"
        )
        expect(enabled.split() == ["enabled"] * 3 + ["disabled"], enabled)
    compiled(host)
    with host.report.step(
        "exposure at most 1.0, no root, no capability, seccomp on, memory bounded, no core dump"
    ) as seen:
        said = host.machine.shell("systemd-analyze security sixtykeyd.service --no-pager | tail -1")
        seen.append(said)
        exposure = re.search(r"([0-9.]+) \w+", said)
        expect(exposure is not None and float(exposure[1]) <= 1.0, said)
        status = host.machine.shell(f"cat /proc/{host.main_pid()}/status")
        capabilities = "".join(re.findall(r"^Cap\w+:\s+(\w+)$", status, re.MULTILINE))
        expect(set(capabilities) == {"0"}, status)
        expect(re.search(r"^Uid:\t0", status, re.MULTILINE) is None, status)
        expect("Seccomp:\t2" in status and "NoNewPrivs:\t1" in status, status)
        shown = host.machine.shell("systemctl show -p MemoryMax,MemorySwapMax sixtykeyd.service")
        expect(shown.split() == [f"MemoryMax={384 * 2**20}", "MemorySwapMax=0"], shown)
        limits = host.machine.shell(f"cat /proc/{host.main_pid()}/limits")
        expect(re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE) is not None, limits)


def compiled(host: Host) -> None:
    """sshd runs the compiled helper, according to `sixtykey check`."""
    with host.report.step("sixtykey check tells that sshd runs the compiled helper") as seen:
        said = host.machine.run("sixtykey", "check", "--json", check=False).stdout
        told = [fact["What"] for fact in json.loads(said)["Facts"] if fact["Name"] == "helper-form"]
        seen.extend(told)
        path = "/usr/lib/sixtykey/authorized-keys"
        expect(told == [f"sshd runs the compiled helper: {path}"], said)


PROBE = """\
set -eu
sed -e 's/^Type=.*/Type=oneshot/; s/^WatchdogSec=.*//; s/^Restart.*//' \
    -e 's,^ExecStart=.*,ExecStart=/usr/bin/python3 -I /opt/sixtykey-e2e/sandbox.py,' \
    -e '/^Requires=/d; /^Wants=/d; /^After=/d' \
    "$(systemctl show -p FragmentPath --value sixtykeyd.service)" \
    > /run/systemd/system/sixtykey-probe.service
mkdir -p /run/systemd/system/sixtykey-probe.service.d
printf '[Service]\\nStandardOutput=file:/run/probe.out\\n' \
    > /run/systemd/system/sixtykey-probe.service.d/out.conf
systemctl daemon-reload
systemctl start sixtykey-probe.service
cat /run/probe.out
rm -rf /run/systemd/system/sixtykey-probe.service* /run/probe.out
systemctl daemon-reload
"""


def sandbox(host: Host) -> None:
    """A compromised daemon has no connection and no access to other files in the unit's sandbox."""
    with host.report.step("the daemon's sandbox: no connection, no file of others") as seen:
        done = host.machine.shell(PROBE)
        expect(done == "", f"possible in the sandbox: {done}")
        networks = host.machine.shell(f"readlink /proc/1/ns/net /proc/{host.main_pid()}/ns/net")
        expect(len(set(networks.split())) == 2, f"same network namespace: {networks}")
        seen.append("12 things tried, from an internet socket to /etc/shadow: all refused")


def sockets(host: Host) -> None:
    """Only root can change the folder of the sockets."""
    with host.report.step(
        "the daemon's user can neither make nor exchange anything beside the sockets"
    ) as seen:
        before = host.machine.shell("find /run/sixtykey -printf '%i %M %u %g %p\\n' | sort")
        command = ("python3", "-I", f"{SCRIPTS}/exchange.py")
        done = host.machine.run(*command, user="sixtykey")
        expect(done.stdout == "", f"possible: {done.stdout}")
        after = host.machine.shell("find /run/sixtykey -printf '%i %M %u %g %p\\n' | sort")
        expect(before == after, f"before: {before}\nafter: {after}")
        seen.append("11 things tried outside of the sandbox: all refused")


def secrets(host: Host) -> None:
    """An ordinary user of the host cannot read sockets, journal and credentials."""
    with host.report.step(
        "an ordinary user reads neither sockets, journal nor credentials"
    ) as seen:
        for path in ("/etc/sixtykey/credentials.yaml", "/run/sixtykey/journal/leases.db"):
            done = host.machine.run("cat", path, user="bob", check=False)
            expect("Permission denied" in done.stderr, f"{path}: {done.stdout}{done.stderr}")
        for path in ("push.PUSH", "push.LOOKUP"):
            done = host.machine.run(
                "python3", "-c",
                f"import sys; sys.path.insert(0, '/opt/sixtykey-e2e'); import push; "
                f"push.exchange({path}, b'alice\\n', 5)",
                user="bob", check=False,
            )  # fmt: skip
            expect("PermissionError" in done.stderr, f"{path}: {done.stdout}{done.stderr}")
        lookup = host.machine.run(
            "cat", "/etc/sixtykey/credentials.yaml", user="sixtykey-lookup", check=False
        )
        expect("Permission denied" in lookup.stderr, f"the helper's user: {lookup.stdout}")
        seen.append("permission denied: credentials, journal, both sockets")
