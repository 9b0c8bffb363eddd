"""Steps: an existing AuthorizedKeysCommand is found, reported, and never overridden."""

from __future__ import annotations

import json
import time

from tests.e2e.hosts import installing
from tests.e2e.hosts.host import Host
from tests.e2e.hosts.report import expect

SETUP = "/usr/lib/sixtykey/sshd-setup"
OTHER = "/usr/local/sbin/other-keys"
DROP_IN = "/etc/ssh/sshd_config.d/10-sixtykey.conf"


def userdbd(host: Host) -> None:
    """Debian 13's systemd-userdbd is left alone, chained on request, and restored at the end."""
    key, record = host.client.key("pushed"), host.client.key("record")
    with host.report.step("systemd-userdbd's command is found and left, with what to do") as seen:
        said = installing.install(host, host.current)
        expect("20-systemd-userdb.conf" in said and f"{SETUP} enable --chain" in said, said)
        expect(host.sshd() == host.sshd_before, "sshd's configuration has changed")
        seen.extend(line for line in said.splitlines() if "userdb" in line)
        host.wait_active()
        status, body = host.push("alice", key)
        expect(status == 200, f"{body}")
        expect(host.client.login("alice", key) == "", "logged in, with sshd as it was")
    with host.report.step("chained, both commands work: a pushed key and a user record's") as seen:
        host.machine.run(SETUP, "enable", "--chain")
        expect(host.client.login("alice", key) == "alice", "the pushed key")
        give_record(host, record.with_suffix(".pub").read_text().strip())
        expect(host.client.login("dora", record) == "dora", "the user record's key")
        seen.append(host.machine.run("cat", DROP_IN).stdout)
    with host.report.step("removed and purged: userdbd's command is sshd's again") as seen:
        host.machine.run("apt-get", "purge", "-y", "sixtykey")
        expect(host.sshd() == host.sshd_before, "sshd's configuration is another")
        expect(host.client.login("dora", record) == "dora", "the user record's key")
        host.machine.shell(
            "rm -rf /etc/userdb; apt-get purge -y systemd-userdbd; systemctl reload ssh"
        )
        host.sshd_before, host.files_before = host.sshd(), host.files()
        seen.append("a user record's key logs in as before")


def give_record(host: Host, line: str) -> None:
    """Make a user of systemd-userdbd with a key: JSON, as in systemd.io/USER_RECORD."""
    host.machine.shell("install -d -o 2001 -g 2001 /home/dora")
    user = {"userName": "dora", "uid": 2001, "gid": 2001, "homeDirectory": "/home/dora"}
    record = {**user, "shell": "/bin/sh", "disposition": "regular"}
    privileged = {"privileged": {"sshAuthorizedKeys": [line], "hashedPassword": ["*"]}}
    group = {"groupName": "dora", "gid": 2001, "disposition": "regular"}
    host.machine.write("/etc/userdb/dora.user", json.dumps(record))
    host.machine.write("/etc/userdb/dora.user-privileged", json.dumps(privileged), 0o600)
    host.machine.write("/etc/userdb/dora.group", json.dumps(group))
    host.machine.shell(
        "cd /etc/userdb; for e in user user-privileged; do ln -s dora.$e 2001.$e; done"
    )
    host.machine.shell("ln -s dora.group /etc/userdb/2001.group")


# Where another command may stand, how it gets there, and what the report must name.
PLACES = {
    "in the main file": (
        f"sed -i '1i AuthorizedKeysCommand {OTHER} %u' $M",
        "/etc/ssh/sshd_config:1",
    ),
    "in a drop-in": (
        f"echo 'AuthorizedKeysCommand {OTHER} %u' > $D/60-other.conf",
        "60-other.conf:1",
    ),
    "in a Match block": (
        f"printf 'Match User bob\\n  AuthorizedKeysCommand {OTHER} %%u\\n' >> $M",
        "Match User bob",
    ),
    "on the command line": (
        f"echo 'SSHD_OPTS=\"-o AuthorizedKeysCommand={OTHER}\"' >> /etc/default/ssh",
        "/etc/default/ssh",
    ),
}
PLACE = "M=/etc/ssh/sshd_config D=/etc/ssh/sshd_config.d\n"
USER = "echo 'AuthorizedKeysCommandUser nobody' > $D/70-user.conf\n"


def places(host: Host) -> None:
    """An existing command is found in every place where it can be, also without Include."""
    key = host.client.key("elsewhere")
    line = key.with_suffix(".pub").read_text()
    host.machine.write(
        OTHER, f'#!/bin/sh\n[ "$1" = bob ] && echo "{line.strip()}"\nexit 0\n', 0o755
    )
    host.machine.shell(
        f"{SETUP} disable; cp -a /etc/ssh /root/ssh; cp -a /etc/default/ssh /root/default"
    )
    for place, (plant, named) in PLACES.items():
        with host.report.step(f"another command {place} is found and left") as seen:
            host.machine.shell(PLACE + USER + plant)
            before = host.sshd()
            done = host.machine.run(SETUP, "enable", check=False)
            said = done.stdout + done.stderr
            expect(done.returncode == 3 and named in said, said)
            expect(host.sshd() == before, "sshd's configuration has changed")
            seen.append(next(text for text in said.splitlines() if OTHER in text).strip())
            if place == "in a drop-in":
                chained(host, seen)
            restore(host)
    with host.report.step("an sshd_config without Include: our lines at its head") as seen:
        host.machine.shell("sed -i '/^Include/d' /etc/ssh/sshd_config")
        before = host.machine.shell("md5sum /etc/ssh/sshd_config; find /etc/ssh | sort")
        done = host.machine.run(SETUP, "enable")
        expect("authorizedkeyscommand /usr/lib/sixtykey" in host.sshd(), host.sshd())
        host.machine.run(SETUP, "disable")
        after = host.machine.shell("md5sum /etc/ssh/sshd_config; find /etc/ssh | sort")
        expect(after == before, f"{before}\n{after}")
        seen.append(done.stderr.splitlines()[0])
        restore(host)
    with host.report.step("an invalid sshd_config is left alone and told") as seen:
        host.machine.shell("echo 'Nonsense yes' >> /etc/ssh/sshd_config")
        done = host.machine.run(SETUP, "enable", check=False)
        expect(done.returncode == 1 and "Nonsense" in done.stderr, done.stderr)
        seen.append(done.stderr.splitlines()[0])
        restore(host)
    disabled_while_invalid(host)
    host.machine.run(SETUP, "enable")


def disabled_while_invalid(host: Host) -> None:
    """With an invalid configuration sshd cannot be reloaded, and `disable` reports that."""
    with host.report.step("disable with an invalid sshd_config says that sshd still asks") as seen:
        key = host.client.key("still")
        host.machine.run(SETUP, "enable")
        time.sleep(1)
        status, body = host.push("alice", key)
        expect(status == 200, f"{body}")
        host.machine.shell("echo 'Nonsense yes' >> /etc/ssh/sshd_config")
        done = host.machine.run(SETUP, "disable", check=False)
        expect(done.returncode == 1 and "could not be reloaded" in done.stderr, done.stderr)
        expect("is not changed" not in done.stderr, done.stderr)
        expect(host.client.login("alice", key) == "alice", "the sshd that runs has changed")
        host.machine.shell("sed -i '$d' /etc/ssh/sshd_config; systemctl reload ssh; sleep 1")
        expect(host.client.login("alice", key) == "", "reloaded, sshd still asks")
        seen.append(done.stderr.splitlines()[0])
        restore(host)


def chained(host: Host, seen: list[str]) -> None:
    """Both commands' keys log in."""
    host.machine.run(SETUP, "enable", "--chain")
    pushed = host.client.key("chained")
    status, body = host.push("alice", pushed)
    expect(status == 200, f"{body}")
    expect(host.client.login("alice", pushed) == "alice", "the pushed key, chained")
    expect(host.client.login("bob", host.work / "elsewhere") == "bob", "the other command, chained")
    seen.append("chained: " + host.machine.run("sed", "-n", "2p", DROP_IN).stdout)


def restore(host: Host) -> None:
    """Restore sshd's files.

    A reloading sshd executes itself again, and reads its files some time after systemctl has ended.
    If they are missing by then, or broken by the next step, it ends.
    """
    host.machine.shell(
        f"{SETUP} disable || true; sleep 1; cp -a /root/default /etc/default/ssh; "
        "rm -rf /etc/ssh; cp -a /root/ssh /etc/ssh; systemctl reload ssh; sleep 1"
    )
