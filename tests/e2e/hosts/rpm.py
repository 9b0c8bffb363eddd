"""Steps: the rpm on a host without any of its libraries, installed before and after boot.

The host is Debian 11, which stands in for Amazon Linux 2023 and Enterprise Linux 9 with its Python
and its OpenSSH. Its packages are not in rpm's database: a small rpm, built here, provides their
names in those distributions, with the host's versions. So rpm still checks the dependencies.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from tests.e2e.hosts import (
    fleet,
    installing,
    journey,
    once,
    one_time,
    removing,
    restarts,
    selinux,
    slot,
)
from tests.e2e.hosts.host import Host
from tests.e2e.hosts.report import expect

# The names of a package in rpm distributions and in Debian.
NAMES = {
    "python3": "python3", "glibc": "libc6", "systemd": "systemd", "util-linux": "util-linux",
    "openssh-server": "openssh-server",
}  # fmt: skip
SPEC = """\
Name: names-of-this-host
Version: 1
Release: 1
Summary: What this host has, as rpm distributions call it
License: Apache-2.0
BuildArch: noarch
Provides: /bin/sh
{provides}
%description
For a test.
%files
"""


def names(root: Path) -> Path:
    """Build the rpm that provides the root's packages, into the root."""
    versions = {
        name: subprocess.run(
            ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W",
             "-f=${source:Upstream-Version}", package],
            check=True, capture_output=True, text=True,
        ).stdout
        for name, package in NAMES.items()
    }  # fmt: skip
    spec = root / "root/names.spec"
    provides = [f"Provides: {name} = {version}\n" for name, version in versions.items()]
    spec.write_text(SPEC.format(provides="".join(provides)), "utf-8")
    command = ["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {root}/root/rpmbuild"]
    subprocess.run([*command, "--define", f"_rpmdir {root}/root", str(spec)], check=True)
    return root / "root/noarch/names-of-this-host-1-1.noarch.rpm"


def into_root(root: Path, package: str) -> None:
    """Install the package into a root that is not booted, as for an image."""
    there = names(root).relative_to(root)
    subprocess.run(
        ["chroot", str(root), "rpm", "-i", f"/{there}", f"/root/{package}"],
        check=True, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"},
    )  # fmt: skip


def rpm(host: Host) -> None:
    """From the installation in a root to the last removal."""
    host.prepare()
    session = removing.Session(host)
    try:
        with host.report.step(
            "rpm -i into an image: booted afterwards, it serves, and sshd asks it"
        ) as seen:
            host.wait_active()
            libraries = host.machine.run("python3", "-c", "import paramiko", check=False)
            expect("ModuleNotFoundError" in libraries.stderr, "the host has the libraries itself")
            seen.append(
                host.machine.shell(
                    "python3 --version; rpm -q sixtykey; sshd -T | grep -i ^authorizedkeysc"
                )
            )
        installing.service(host)
        installing.sandbox(host)
        installing.sockets(host)
        with once.one_time_keys(host):
            selinux.module(host)
        journey.local_push(host)
        journey.https_push(host)
        journey.https_off(host)
        one_time.briefly(host)
        slot.amazon(host)
        erase(host, session)
        install_and_upgrade(host)
        journey.local_push(host)
        fleet.packages(host, "rpm")
        erase(host, session)
    finally:
        session.close()


def install_and_upgrade(host: Host) -> None:
    """Install an older build, and upgrade it to this one under load."""
    with host.report.step("rpm -U under load from an older build, configuration kept") as seen:
        host.sshd_before = host.sshd()
        host.machine.run("rpm", "-i", f"/root/{host.older}")
        host.wait_active()
        host.machine.run("test", "-s", "/run/sixtykey/leases.db")
        own = "# mine\nkeys:\n  per_user: 100\n"
        host.machine.write("/etc/sixtykey/config.yaml", own)
        before = host.main_pid()
        account: dict[str, Any] = {}
        with restarts.load(host, account):
            host.machine.run("rpm", "-U", f"/root/{host.current}")
        host.wait_active()
        expect(host.main_pid() != before, "the daemon is still the older one")
        kept = host.machine.run("cat", "/etc/sixtykey/config.yaml").stdout
        expect(kept == own, f"the configuration has changed: {kept}")
        seen.append(host.machine.shell("rpm -q sixtykey"))
        restarts.judge(account, seen)
        restarts.journal_moved(host, seen)


def erase(host: Host, session: removing.Session) -> None:
    """After the removal nothing of it runs or is asked."""
    with host.report.step("rpm -e: sshd as before, own keys log in, sessions stay") as seen:
        host.machine.run("rpm", "-e", "sixtykey")
        expect("authorizedkeyscommand none" in host.sshd(), "sshd still has a command")
        expect(host.active() != "active", "the daemon still runs")
        left = host.machine.shell("find /usr /run /var/lib/sixtykey -name '*sixtykey*' || true")
        expect(left == "" or "/sixtykey" not in left, left)
        key = host.client.key("afterwards")
        host.authorize("alice", key)
        expect(host.client.login("alice", key) == "alice", "the user's own key")
        host.machine.run("rm", "/home/alice/.ssh/authorized_keys")
        session.echo("still here\n")
        seen.append("no command, no daemon, no file below /usr and /run")
