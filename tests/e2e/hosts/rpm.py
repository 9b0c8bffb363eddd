"""Steps: the rpm, installed into a root from outside, then by its scriptlets on the booted host.

Its dependencies are there from apt, under other names, hence --nodeps.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from tests.e2e.hosts import installing, journey, removing, restarts, selinux
from tests.e2e.hosts.host import Host
from tests.e2e.hosts.report import expect


def into_root(root: Path, package: str) -> None:
    """Install the package into a root that is not booted: rpm --root."""
    subprocess.run(
        ["rpm", "--root", str(root), "--nodeps", "--ignorearch", "-i", f"{root}/root/{package}"],
        check=True,
    )


def rpm(host: Host) -> None:
    """From the installation in a root to the last erasure."""
    host.prepare()
    session = removing.Session(host)
    try:
        with host.report.step("rpm --root: booted afterwards, it serves, and sshd asks it") as seen:
            host.wait_active()
            seen.append(host.machine.shell("rpm -q sixtykey; sshd -T | grep -i ^authorizedkeysc"))
        installing.service(host)
        installing.sockets(host)
        selinux.module(host)
        journey.local_push(host)
        erase(host, session)
        install_and_upgrade(host)
        journey.local_push(host)
        erase(host, session)
    finally:
        session.close()


def install_and_upgrade(host: Host) -> None:
    """An older build, then this one over it, under load."""
    with host.report.step("rpm -U under load from an older build, configuration kept") as seen:
        host.sshd_before = host.sshd()
        host.machine.run("rpm", "--nodeps", "-i", f"/root/{host.older}")
        host.wait_active()
        host.machine.run("test", "-s", "/run/sixtykey/leases.db")
        own = "# mine\nkeys:\n  per_user: 100\n"
        host.machine.write("/etc/sixtykey/config.yaml", own)
        before = host.main_pid()
        account: dict[str, Any] = {}
        with restarts.load(host, account):
            host.machine.run("rpm", "--nodeps", "-U", f"/root/{host.current}")
        host.wait_active()
        expect(host.main_pid() != before, "the daemon is still the older one")
        kept = host.machine.run("cat", "/etc/sixtykey/config.yaml").stdout
        expect(kept == own, f"the configuration has changed: {kept}")
        seen.append(host.machine.shell("rpm -q sixtykey"))
        restarts.judge(account, seen)
        restarts.journal_moved(host, seen)


def erase(host: Host, session: removing.Session) -> None:
    """Nothing of it runs or is asked any more."""
    with host.report.step("rpm -e: sshd as before, own keys log in, sessions stay") as seen:
        host.machine.run("rpm", "--nodeps", "-e", "sixtykey")
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
