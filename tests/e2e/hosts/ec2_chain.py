"""Steps: a helper like AWS's, which asks the metadata itself, works beside ours."""

from __future__ import annotations

from tests.e2e.hosts.host import Host
from tests.e2e.hosts.imds import ADDRESSES, Imds, line
from tests.e2e.hosts.report import expect
from tests.parts.host import ROOT

UNIT = "sixtykeyd-ec2.service"
THEIRS = "/usr/share/ec2-instance-connect/eic_run_authorized_keys"
THEIRS_FIRST = "/usr/local/sbin/theirs-first"
OTHER = "/etc/ssh/sshd_config.d/50-other.conf"
SETUP = "/usr/lib/sixtykey/sshd-setup"


def beside_theirs(host: Host, imds: Imds) -> None:
    """Ours runs theirs by `--chain`; theirs, which cannot chain, runs before ours."""
    text = (ROOT / "tests" / "parts" / "metadata_helper.sh").read_text("utf-8")
    roots = "/etc/ssl/certs/ca-certificates.crt"
    text = text.replace("@URL@", f"http://{ADDRESSES[0]}").replace("@ROOTS@", roots)
    host.machine.write(THEIRS, text, 0o755)
    lines = f'#!/bin/sh\n{THEIRS} "$@" || true\nexec /usr/lib/sixtykey/authorized-keys "$@"\n'
    host.machine.write(THEIRS_FIRST, lines, 0o755)
    # Then only theirs can find a key that EC2's own API pushed.
    host.machine.run("systemctl", "stop", UNIT)
    with host.report.step("a helper like AWS's after ours: keys of both log in") as seen:
        take_slot(host, THEIRS)
        host.machine.run(SETUP, "enable", "--chain")
        expect(f'authorized-keys --chain "{THEIRS}"' in host.sshd(), host.sshd())
        seen.append(try_both(host, imds))
        host.machine.run(SETUP, "disable")
    with host.report.step("a helper like AWS's before ours: keys of both log in") as seen:
        take_slot(host, THEIRS_FIRST)
        seen.append(try_both(host, imds))
    host.machine.shell(f"rm {OTHER} && {SETUP} enable && systemctl start {UNIT}")


def take_slot(host: Host, command: str) -> None:
    """Have sshd run another command instead of ours."""
    words = f"AuthorizedKeysCommand {command} %u %f\nAuthorizedKeysCommandUser sixtykey-lookup\n"
    host.machine.shell(f"{SETUP} disable >&2 || true")
    host.machine.write(OTHER, words)
    host.machine.shell("systemctl reload ssh.service")
    expect(f"authorizedkeyscommand {command} %u %f" in host.sshd(), host.sshd())


def try_both(host: Host, imds: Imds) -> str:
    """A pushed key and one in the metadata log in, and the pushed one also while theirs fails."""
    here, theirs = host.client.key("here"), host.client.key("theirs")
    status, body = host.push("alice", here)
    expect(status == 200, f"{status} {body}")
    imds.data.set_keys("alice", imds.signer.block(line(theirs)))
    expect(host.client.login("alice", here) == "alice", "a key that was pushed here")
    expect(host.client.login("alice", theirs) == "alice", "a key that theirs finds")
    imds.data.behave(status=500)
    expect(host.client.login("alice", here) == "alice", "a key pushed here, while theirs fails")
    expect(host.client.login("alice", theirs) == "", "a key that theirs cannot find")
    imds.data.behave()
    imds.data.set_keys("alice")
    return "pushed here: alice; in the metadata: alice; theirs failing: the first alone"
