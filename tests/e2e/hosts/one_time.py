"""Steps: PAM's line is added, survives an upgrade of openssh-server, and is removed."""

from __future__ import annotations

import re

from tests.e2e.hosts.conflicts import SETUP
from tests.e2e.hosts.faults import found
from tests.e2e.hosts.host import Host
from tests.e2e.hosts.report import expect

CONFIG = "/etc/sixtykey/config.yaml"
LINE = "account required pam_exec.so quiet /usr/lib/sixtykey/pam-account"
DROP_INS = "/etc/systemd/system/ssh.service.d"
NO_PAM = "[Service]\nExecStart=\nExecStart=/usr/sbin/sshd -D -o UsePAM=no\n"
# A new version of openssh-server, made of the one that is installed: its files, its own scripts,
# and in one of its conffiles a line that only the new version has.
LATER = """\
cd /root; rm -rf later; mkdir -p later/DEBIAN
dpkg-query -L openssh-server | grep "^/" | while read -r path; do
    there=$(dpkg-divert --truename "$path")
    if [ -d "$there" ]; then mkdir -p "later$path"
    elif [ -e "$there" ]; then cp -a "$there" "later$path"; fi
done
for name in preinst postinst prerm postrm config templates conffiles triggers; do
    for file in /var/lib/dpkg/info/openssh-server.$name; do
        if [ -e "$file" ]; then cp "$file" "later/DEBIAN/$name"; fi
    done
done
dpkg-query -s openssh-server | sed -e '/^Status:/d' -e 's/^Version: .*/&+later/' \\
    -e '/^Conffiles:/,/^[^ ]/{/^Conffiles:/d;/^ \\//d}' > later/DEBIAN/control
echo '# of a later version' >> later/etc/pam.d/sshd
dpkg-deb --build --root-owner-group later later.deb
"""


def pam(host: Host) -> str:
    """All of PAM's files, byte for byte, and dpkg's diversions."""
    return host.machine.shell(
        "find /etc/pam.d -type f -printf '%M %u %g %p\\n' -exec md5sum {} + | sort; "
        "dpkg-divert --list '*pam.d*'"
    )


def one_time(host: Host) -> None:
    """From a host without PAM's line to the removal of package and line."""
    host.pam_before = pam(host)
    config = host.machine.run("cat", CONFIG).stdout
    refused_without_line(host)
    enabled(host)
    one_login(host)
    planted(host)
    turned_off(host)
    upgraded(host)
    disabled(host)
    host.machine.write(CONFIG, config)
    host.machine.run("systemctl", "restart", "sixtykeyd.service")
    host.wait_active()
    # The package's removal removes it: see removing.
    host.pam_before = pam(host)
    host.machine.run(SETUP, "enable", "--one-time")
    another_line(host)


def briefly(host: Host) -> None:
    """On a host without an openssh-server upgrade, the line is added, works, and is removed."""
    before, config = pam(host), host.machine.run("cat", CONFIG).stdout
    host.machine.write(CONFIG, "keys:\n  uses: once\n")
    enabled(host)
    one_login(host)
    with host.report.step("disable: PAM's files as before, byte for byte"):
        host.machine.run(SETUP, "disable")
        expect(pam(host) == before, f"{before}\n{pam(host)}")
        host.machine.write(CONFIG, config)
        host.machine.run("systemctl", "restart", "sixtykeyd.service")
        host.wait_active()
        host.machine.run(SETUP, "enable")


def refused_without_line(host: Host) -> None:
    """Without PAM's line the daemon refuses `uses: once`."""
    with host.report.step("keys.uses: once without PAM's line, and with UsePAM no: refused") as s:
        host.machine.write(CONFIG, "keys:\n  uses: once\n")
        host.machine.run("systemctl", "restart", "sixtykeyd.service", check=False)
        log = host.machine.shell("journalctl -o cat -u sixtykeyd -n 20")
        expect("enable --one-time" in log, log)
        code, names = found(host, "alice")
        expect(code == 1 and "pam-line-missing" in names, f"exit {code}: {names}")
        host.machine.shell("echo 'UsePAM no' > /etc/ssh/sshd_config.d/05-pam.conf")
        before = pam(host)
        refused = host.machine.run(SETUP, "enable", "--one-time", check=False)
        expect(refused.returncode == 1 and "UsePAM yes" in refused.stderr, refused.stderr)
        expect(pam(host) == before, "PAM's files have changed")
        host.machine.run("rm", "/etc/ssh/sshd_config.d/05-pam.conf")
        s.append(next(line for line in log.splitlines() if "enable --one-time" in line))


def enabled(host: Host) -> None:
    """The line is at the head of the phase, and nothing else of PAM's has changed."""
    with host.report.step("sshd-setup enable --one-time: PAM asks, and check finds nothing") as s:
        s.append(host.machine.run(SETUP, "enable", "--one-time").stderr)
        s.append(host.machine.run("cat", "/etc/pam.d/sshd").stdout)
        host.machine.run("systemctl", "restart", "sixtykeyd.service")
        host.wait_active()
        code, names = found(host, "alice")
        expect(code == 0, f"exit {code}: {names}")


def one_login(host: Host) -> None:
    """The first login is admitted, the second is not, and sshd's log has nothing unusual."""
    with host.report.step("one push, one login; the second is refused, the log is clean") as s:
        since = host.machine.shell("date '+%Y-%m-%d %H:%M:%S'")
        once(host)
        why = host.machine.run("sixtykey", "why", "alice").stdout
        expect("used once already" in why, why)
        log = host.machine.run("journalctl", "--no-pager", "-t", "sshd", "-t", "sshd-session",
                               "--since", since).stdout  # fmt: skip
        odd = [line for line in log.splitlines() if re.search("error|fatal|Command|pam_exec", line)]
        expect(not odd, "\n".join(odd))
        s.append(next(line for line in why.splitlines() if "used once already" in line).strip())
        own = host.client.key("own-once")
        host.authorize("bob", own)
        expect(host.client.login("bob", own) == "bob", "a key in the user's own file")
        host.machine.run("systemctl", "stop", "sixtykeyd.service", "sixtykeyd-lookup.socket")
        expect(host.client.login("bob", own) == "bob", "the same while the daemon is away")
        host.machine.run("systemctl", "start", "sixtykeyd-lookup.socket", "sixtykeyd.service")
        host.wait_active()
        host.machine.run("rm", "/home/bob/.ssh/authorized_keys")


def once(host: Host) -> None:
    """Push, log in, and be refused."""
    key = host.client.key("once")
    status, body = host.push("alice", key)
    expect(status == 200, f"{body}")
    expect(host.client.login("alice", key) == "alice", "the first login")
    expect(host.client.login("alice", key) == "", "the second login was admitted")


PLANTED = {
    "pam-line-misplaced": "sed -i '/pam-account/d' /etc/pam.d/sshd; "
    f"echo '{LINE}' >> /etc/pam.d/sshd",
    "pam-line-missing": "sed -i '/pam-account/d' /etc/pam.d/sshd",
    "pam-line-doubled": f"sed -i '1i {LINE}' /etc/pam.d/sshd",
    "pam-line-wrong": "sed -i 's/account required pam_exec/account optional pam_exec/' "
    "/etc/pam.d/sshd",
    "pam-off": "sed -i '1i UsePAM no' /etc/ssh/sshd_config",
    "pam-program-wrong": "chmod 777 /usr/lib/sixtykey/pam-account",
}


def planted(host: Host) -> None:
    """Each planted fault is found by its name."""
    with host.report.step(f"sixtykey check finds each of {len(PLANTED)} faults of PAM's") as seen:
        host.machine.shell("cp -a /etc/pam.d/sshd /root/sshd.pam; cp -a /etc/ssh/sshd_config /root")
        missed = []
        for name, plant in PLANTED.items():
            host.machine.shell(plant)
            said = host.machine.run("sixtykey", "check", "--strict", "alice", check=False)
            host.machine.shell(
                "cp -a /root/sshd.pam /etc/pam.d/sshd; cp -a /root/sshd_config /etc/ssh; "
                "chmod 755 /usr/lib/sixtykey/pam-account"
            )
            if f" {name}: " not in said.stdout or said.returncode != 1:
                missed.append(f"{name}: {said.stdout}")
        expect(not missed, "\n".join(missed))
        seen.append(", ".join(PLANTED))


def turned_off(host: Host) -> None:
    """A drop-in of sshd's unit turns PAM off: check and the daemon's start find it, as confined."""
    with host.report.step("-o UsePAM=no in ssh.service: check names it, the daemon refuses") as s:
        host.machine.run("mkdir", "-p", DROP_INS)
        host.machine.write(f"{DROP_INS}/no-pam.conf", NO_PAM)
        said = host.machine.run("sixtykey", "check", "alice", check=False).stdout
        expect("FAULT pam-off: sshd does not use PAM: UsePAM no by -o" in said, said)
        host.machine.run("systemctl", "restart", "sixtykeyd.service", check=False)
        log = host.machine.shell("journalctl -o cat -u sixtykeyd -n 20")
        (line,) = {line for line in log.splitlines() if "UsePAM no by -o" in line}
        expect(f"{DROP_INS}/no-pam.conf:3" in line, log)
        s.append(line)
        # The running sshd alone: its unit is in order again, but it has not been restarted.
        host.machine.shell("systemctl daemon-reload; systemctl restart ssh.service")
        host.machine.shell(f"rm {DROP_INS}/no-pam.conf; systemctl daemon-reload")
        host.machine.run("systemctl", "restart", "sixtykeyd.service", check=False)
        log = host.machine.shell("journalctl -o cat -u sixtykeyd -n 20")
        expect("the running sshd (process " in log, log)
        host.machine.run("systemctl", "restart", "ssh.service")
        host.machine.run("systemctl", "restart", "sixtykeyd.service")
        host.wait_active()


def upgraded(host: Host) -> None:
    """An upgrade of openssh-server asks no question: with an empty stdin one would be an error."""
    with host.report.step("openssh-server upgraded and reconfigured: nothing is asked") as seen:
        host.machine.shell(LATER)
        done = host.machine.run("dpkg", "-i", "/root/later.deb", check=False)
        expect(done.returncode == 0, done.stdout + done.stderr)
        expect("Configuration file" not in done.stdout, done.stdout)
        host.machine.run("dpkg-reconfigure", "openssh-server")
        host.machine.shell("dpkg --configure -a; systemctl is-active ssh; sleep 1")
        files = host.machine.run("cat", "/etc/pam.d/sshd", "/etc/pam.d/sshd.distrib").stdout
        expect("# of a later version" in files and LINE in files, files)
        code, names = found(host, "alice")
        expect(code == 0, f"exit {code}: {names}")
        once(host)
        versions = "dpkg-query -W openssh-server; dpkg-divert --list '*pam.d*'"
        seen.append(host.machine.shell(versions))


def disabled(host: Host) -> None:
    """PAM is as the distribution has it now; a daemon with `uses: once` does not start."""
    with host.report.step("disable --one-time: PAM's files as before, byte for byte") as seen:
        done = host.machine.run(SETUP, "disable", "--one-time", check=False)
        seen.append(done.stderr)
        expect(done.returncode == 1 and "keys.uses: once" in done.stderr, done.stderr)
        after = host.machine.run("cat", "/etc/pam.d/sshd").stdout
        host.machine.shell("sed -i '/^# of a later version$/d' /etc/pam.d/sshd")
        expect(pam(host) == host.pam_before, f"{host.pam_before}\n{pam(host)}")
        host.machine.write("/etc/pam.d/sshd", after)
        expect(LINE not in after, after)
        verified = host.machine.run("dpkg", "--verify", "openssh-server", check=False).stdout
        expect("/etc/pam.d/sshd" not in verified, f"dpkg takes it for edited: {verified}")


def another_line(host: Host) -> None:
    """The package cannot be removed while another of PAM's files runs pam-account.

    Without the package that line would refuse all logins. A removal that is refused changes neither
    sshd's files nor PAM's.
    """
    files = "cat /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf /etc/pam.d/sshd* | md5sum"
    with host.report.step("apt remove refuses while PAM's files still run pam-account") as seen:
        host.machine.shell(
            f"cp -a /etc/pam.d/common-account /root; sed -i '1i {LINE}' /etc/pam.d/common-account"
        )
        before = host.machine.shell(files)
        done = host.machine.run("apt-get", "remove", "-y", "sixtykey", check=False)
        said = done.stdout + done.stderr
        expect(host.machine.shell(files) == before, "sshd's or PAM's files have changed")
        expect(done.returncode != 0 and "/etc/pam.d" in said, said)
        expect(host.machine.shell("ls /usr/lib/sixtykey/pam-account") != "", "it is gone")
        seen.append(next(line for line in said.splitlines() if "pam-account" in line))
        host.machine.shell("cp -a /root/common-account /etc/pam.d; dpkg --configure -a")
        host.wait_active()
