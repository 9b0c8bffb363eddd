"""Steps: sshd's slot is AWS's. It is taken with consent, verified, and given back.

Amazon Linux 2023 has AWS's two lines in an sshd_config without Include; Ubuntu has them as `-o` in
a drop-in of ssh.service, which systemd also starts for ssh.socket.
"""

from __future__ import annotations

from pathlib import Path

from tests.e2e.hosts import installing, removing
from tests.e2e.hosts.conflicts import DROP_IN, SETUP
from tests.e2e.hosts.host import Host
from tests.e2e.hosts.report import expect

USER = "ec2-instance-connect"
# The path of the helper in AWS's packages.
AMAZON, UBUNTU = "/opt/aws/bin", "/usr/share/ec2-instance-connect"
PROGRAM = "eic_run_authorized_keys"
LINES = f"""\
AuthorizedKeysCommand {AMAZON}/{PROGRAM} %u %f
AuthorizedKeysCommandUser {USER}
"""
UNIT_DROP_IN = "/usr/lib/systemd/system/ssh.service.d/ec2-instance-connect.conf"
UNIT = f"""\
[Service]
ExecStart=
ExecStart=/usr/sbin/sshd -D -o "AuthorizedKeysCommand {UBUNTU}/{PROGRAM} %%u %%f" \
-o "AuthorizedKeysCommandUser {USER}" $SSHD_OPTS
"""
# Amazon Linux's sshd_config, as far as it matters: no Include, and a subsystem of its own.
CONFIG = """\
#\t$OpenBSD: sshd_config,v 1.104 2021/07/02 05:11:21 dtucker Exp $
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile .ssh/authorized_keys
PasswordAuthentication no
UsePAM yes
X11Forwarding yes
Subsystem sftp internal-sftp

"""
CONSIDERED = (
    "$(ls -d /etc/ssh /etc/default/ssh /etc/systemd/system/ssh* /usr/lib/systemd/system/ssh* "
    "2>/dev/null || true)"
)


def amazon(host: Host) -> None:
    """On a host with the package: an sshd_config like Amazon Linux's, and back."""
    key = helper(host, AMAZON)
    kept = "/root/sshd_config.kept"
    host.machine.shell(f"{SETUP} disable; cp -a /etc/ssh/sshd_config {kept}")
    host.machine.write("/etc/ssh/sshd_config", CONFIG + LINES, 0o600)
    host.machine.shell("systemctl reload ssh; sleep 1")
    taken_and_given_back(host, key, "in an sshd_config without Include", ["sshd_config:9"])
    host.machine.shell(f"cat {kept} > /etc/ssh/sshd_config; systemctl reload ssh; sleep 1")
    host.machine.run(SETUP, "enable")


def ubuntu(host: Host) -> None:
    """A host with Ubuntu's unit, before the installation: by the service, then by its socket."""
    host.prepare()
    key = helper(host, UBUNTU)
    host.machine.write(UNIT_DROP_IN, UNIT)
    host.machine.shell("systemctl daemon-reload; systemctl restart ssh")
    session = removing.Session(host)
    try:
        with host.report.step("installed where AWS's unit has the slot: left as it is") as seen:
            before = state(host)
            said = installing.install(host, host.current)
            expect(f"{UNIT_DROP_IN}:3" in said and f"{SETUP} enable --replace" in said, said)
            expect(state(host) == before, "something has changed")
            host.wait_active()
            seen.append(said[said.index("sixtykey: sshd already has") :].split("\n\n")[0])
        taken_and_given_back(host, key, "by -o in ssh.service", [UNIT_DROP_IN])
        refused(host, key)
        host.machine.shell(
            "systemctl disable --now ssh.service; systemctl enable --now ssh.socket; sleep 1"
        )
        taken_and_given_back(host, key, "by -o, with ssh.socket", [UNIT_DROP_IN])
        session.echo("still here\n")
        with host.report.step("purged while it holds AWS's slot: AWS's again, sessions stay"):
            before = state(host)
            host.machine.run(SETUP, "enable", "--replace")
            host.machine.run("apt-get", "purge", "-y", "sixtykey")
            expect(state(host) == before, f"{before}\n{state(host)}")
            expect(host.client.login("bob", key) == "bob", "AWS's key")
            session.echo("to the end\n")
    finally:
        session.close()


def helper(host: Host, folder: str) -> Path:
    """Install a stand-in for AWS's helper, its user, and its key for bob."""
    key = host.client.key("aws")
    line = key.with_suffix(".pub").read_text().strip()
    host.machine.shell(f"useradd -r -M -s /usr/sbin/nologin {USER}")
    script = f'#!/bin/sh\nif [ "$1" = bob ]; then echo "{line}"; fi\n'
    host.machine.write(f"{folder}/{PROGRAM}", script, 0o755)
    return key


def state(host: Host) -> str:
    """Every file that affects how sshd runs, with its content, mode and owner."""
    return host.machine.shell(
        f"find {CONSIDERED} -printf '%M %u %g %p %l\\n' | sort; "
        f"find {CONSIDERED} -type f -exec md5sum {{}} + | sort -k 2"
    )


def logins(host: Host, aws: Path) -> tuple[bool, bool]:
    """Whether a key that is pushed here logs in, and whether AWS's does."""
    pushed = host.client.key("here")
    status, body = host.push("alice", pushed)
    expect(status == 200, f"{body}")
    ours = host.client.login("alice", pushed) == "alice"
    return ours, host.client.login("bob", aws) == "bob"


def taken_and_given_back(host: Host, aws: Path, where: str, named: list[str]) -> None:
    """The slot is refused, replaced, given back, chained, and given back."""
    before = state(host)
    with host.report.step(f"AWS's command {where}: left, with what would be done") as seen:
        done = host.machine.run(SETUP, "enable", check=False)
        expect(done.returncode == 3 and all(n in done.stderr for n in named), done.stderr)
        expect("enable --replace\nThis would" in done.stderr, done.stderr)
        expect(state(host) == before, "something has changed")
        expect(logins(host, aws) == (False, True), "other keys log in than before")
        seen.append(done.stderr[done.stderr.index("This would") :])
    with host.report.step(f"{where}: replaced, and sshd itself runs ours") as seen:
        host.machine.run(SETUP, "enable", "--replace")
        expect(logins(host, aws) == (True, False), "a pushed key alone should log in")
        check = host.machine.run("sixtykey", "check", "alice", check=False)
        expect(check.returncode == 0, check.stdout)
        seen.append(running(host))
        expect(PROGRAM not in running(host), running(host))
    given_back(host, aws, where, before)
    with host.report.step(f"{where}: chained, both log in"):
        host.machine.run(SETUP, "enable", "--chain")
        expect(logins(host, aws) == (True, True), "both keys should log in")
    given_back(host, aws, where, before)


def given_back(host: Host, aws: Path, where: str, before: str) -> None:
    """Every file is as before, and sshd runs AWS's command."""
    with host.report.step(f"{where}: disabled, and every byte is as it was"):
        host.machine.shell(f"{SETUP} disable; sleep 1")
        expect(state(host) == before, f"{before}\n{state(host)}")
        expect(logins(host, aws) == (False, True), "other keys log in than before")


def refused(host: Host, aws: Path) -> None:
    """If our command would not be in force, the check fails and sshd runs as before."""
    later = "/etc/systemd/system/ssh.service.d/zzz.conf"
    with host.report.step("a drop-in that comes after ours: everything is put back") as seen:
        host.machine.write(later, UNIT)
        host.machine.shell("systemctl daemon-reload; systemctl restart ssh")
        before = state(host)
        done = host.machine.run(SETUP, "enable", "--replace", check=False)
        expect(done.returncode == 1 and later in done.stderr, done.stderr)
        expect(state(host) == before, f"{before}\n{state(host)}")
        expect(logins(host, aws) == (False, True), "other keys log in than before")
        seen.append(done.stderr.splitlines()[0])
        host.machine.shell(f"rm -r {Path(later).parent}; systemctl daemon-reload")
    with host.report.step("an sshd that does not start with ours: it runs as before"):
        # It is valid when started by hand, but does not start as a service.
        host.machine.write(
            "/etc/systemd/system/ssh.service.d/other.conf",
            f"[Service]\nExecStartPre=/usr/bin/test ! -e {DROP_IN}\n",
        )
        host.machine.shell("systemctl daemon-reload; systemctl restart ssh")
        before = state(host)
        done = host.machine.run(SETUP, "enable", "--replace", check=False)
        expect(done.returncode == 1 and "systemctl restart ssh.service" in done.stderr, done.stderr)
        expect(state(host) == before, f"{before}\n{state(host)}")
        expect(logins(host, aws) == (False, True), "other keys log in than before")
        host.machine.shell(
            "rm -r /etc/systemd/system/ssh.service.d; systemctl daemon-reload; "
            "systemctl restart ssh; sleep 1"
        )


def running(host: Host) -> str:
    """The command line of ssh.service's process, if it runs, and sshd's effective configuration."""
    return host.machine.shell(
        "pid=$(systemctl show -p MainPID --value ssh.service); "
        "if [ $pid != 0 ]; then tr '\\0' ' ' < /proc/$pid/cmdline; echo; fi; "
        "sshd -T | grep -i ^authorizedkeyscommand"
    )
