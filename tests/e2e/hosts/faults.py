"""Steps: `sixtykey check` finds nothing on a good host, and each planted fault by name."""

from __future__ import annotations

import json
from typing import NamedTuple

from tests.e2e.hosts.host import Host
from tests.e2e.hosts.report import expect

UNITS = "sixtykeyd-lookup.socket sixtykeyd-push.socket sixtykeyd.service"
LIB, ETC, SSH = "/usr/lib/sixtykey", "/etc/sixtykey", "/etc/ssh/sshd_config.d"


class Fault(NamedTuple):
    """A fault: the command that plants it, the one that removes it, and for whom it is found."""

    name: str
    plant: str
    mend: str
    user: str = "alice"


FAULTS = [
    Fault("daemon-away", f"systemctl stop {UNITS}", f"systemctl start {UNITS}"),
    Fault("lookup-socket-forbidden", "chmod 600 /run/sixtykey/l*k", "chmod 660 /run/sixtykey/l*k"),
    Fault(
        "configuration-wrong", f"echo 'x: 1' >> {ETC}/config.yaml", f"sed -i '$d' {ETC}/config.yaml"
    ),
    Fault(
        "credentials-mode", f"chmod 644 {ETC}/credentials.yaml", f"chmod 640 {ETC}/credentials.yaml"
    ),
    Fault(
        "credentials-owner",
        f"chgrp root {ETC}/credentials.yaml",
        f"chgrp sixtykey {ETC}/credentials.yaml",
    ),
    Fault(
        "credentials-wrong",
        f"echo '- x: 1' >> {ETC}/credentials.yaml",
        f"sed -i '$d' {ETC}/credentials.yaml",
    ),
    Fault("tls-wrong", f"mv {ETC}/tls {ETC}/no", f"mv {ETC}/no {ETC}/tls"),
    Fault(
        "helper-missing", f"mv {LIB}/authorized-keys {LIB}/no", f"mv {LIB}/no {LIB}/authorized-keys"
    ),
    Fault("helper-mode", f"chmod 644 {LIB}/authorized-keys", f"chmod 755 {LIB}/authorized-keys"),
    Fault("helper-ownership", f"chmod 775 {LIB}", f"chmod 755 {LIB}"),
    Fault(
        "helper-user-unknown",
        f"sed -i s/sixtykey-lookup/nosuch/ {SSH}/10-sixtykey.conf",
        f"sed -i s/nosuch/sixtykey-lookup/ {SSH}/10-sixtykey.conf",
    ),
    Fault(
        "slot-taken",
        f"printf 'AuthorizedKeysCommand /bin/true\\n' > {SSH}/05-other.conf",
        f"rm {SSH}/05-other.conf",
    ),
    Fault(
        "slot-taken",
        "printf 'Match User alice\\nAuthorizedKeysCommand /bin/true\\n' >> /etc/ssh/sshd_config",
        "sed -i '/^Match User alice/,$d' /etc/ssh/sshd_config",
    ),
    Fault("pubkey-off", f"echo PubkeyAuthentication no > {SSH}/05-x.conf", f"rm {SSH}/05-x.conf"),
    Fault("sshd-config-wrong", f"echo Nonsense yes > {SSH}/05-x.conf", f"rm {SSH}/05-x.conf"),
    Fault("user-unknown", "true", "true", user="nosuch"),
    Fault("shell-missing", "usermod -s /bin/nosuch alice", "usermod -s /bin/bash alice"),
    Fault("account-expired", "chage -E 1 alice", "chage -E -1 alice"),
    Fault("nologin-file", "touch /etc/nologin", "rm /etc/nologin"),
]


def found(host: Host, user: str) -> tuple[int, set[str]]:
    """The exit code and the names of the faults that `check` finds for a user."""
    done = host.machine.run("sixtykey", "check", "--json", user, check=False)
    expect(done.returncode in {0, 1}, f"exit {done.returncode}: {done.stdout}{done.stderr}")
    findings = json.loads(done.stdout)["Findings"]
    return done.returncode, {f["Name"] for f in findings if f["Severity"] == "fault"}


def check(host: Host) -> None:
    """Check a good host, and then one fault after the other."""
    with host.report.step("sixtykey check finds nothing on a good host") as seen:
        code, names = found(host, "alice")
        expect(code == 0 and not names, f"exit {code}: {names}")
        seen.append(host.machine.run("sixtykey", "check", "alice").stdout)
    with host.report.step(f"sixtykey check finds each of {len(FAULTS)} planted faults") as seen:
        missed = []
        for fault in FAULTS:
            host.machine.shell(fault.plant)
            code, names = found(host, fault.user)
            host.machine.shell(fault.mend)
            if code != 1 or fault.name not in names:
                missed.append(f"{fault.name} ({fault.plant}): exit {code}, {sorted(names)}")
        expect(not missed, "\n".join(missed))
        seen.append(", ".join(sorted({fault.name for fault in FAULTS})))
        code, names = found(host, "alice")
        expect(code == 0, f"after mending: {names}")
