"""The commands of docs/administrator.md, run unchanged on a host without sixtykey."""

from __future__ import annotations

import re
from pathlib import Path

from tests.e2e.hosts.host import Host, Secret
from tests.e2e.hosts.report import expect

PAGE = Path(__file__).resolve().parents[3] / "docs" / "administrator.md"


def blocks() -> list[str]:
    """Every ```sh block of the page, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def readme(host: Host) -> None:
    """Run block by block: install, push, network listener, sshd, uninstall."""
    install, push, network, chain, uninstall = blocks()
    with host.report.step("administrator.md: install, and push on the host itself") as seen:
        host.prepare()
        host.machine.shell(f"rm /root/{host.older}; useradd -m -s /bin/bash -p '*' deploy")
        seen.extend(run(host, install).splitlines()[-4:])
        key = host.client.key("id_ed25519")
        host.machine.write("/root/id_ed25519.pub", key.with_suffix(".pub").read_text())
        expect(host.client.login("deploy", key) == "", "logged in before the push")
        seen.append(run(host, push))
        expect(host.client.login("deploy", key) == "deploy", "not logged in after the push")
    with host.report.step("administrator.md: open it to the network, push from outside") as seen:
        pem(host)
        said = run(host, network)
        found = re.search(r"aws_access_key_id *= *(\S+)\s+aws_secret_access_key *= *(\S+)", said)
        expect(found is not None, said)
        assert found is not None
        other = host.client.key("other")
        done = host.aws("deploy", other, Secret(*found.groups()))
        expect(done.returncode == 0, done.stdout + done.stderr)
        expect(host.client.login("deploy", other) == "deploy", "not logged in after the push")
    with host.report.step("administrator.md: chain to a command that was there; uninstall") as seen:
        host.machine.shell("/usr/lib/sixtykey/sshd-setup disable")
        other_command = "AuthorizedKeysCommand /bin/true %u\nAuthorizedKeysCommandUser root\n"
        host.machine.write("/etc/ssh/sshd_config.d/50-other.conf", other_command)
        seen.append(run(host, chain))
        expect('authorized-keys --chain "/bin/true"' in host.sshd(), host.sshd())
        seen.append(run(host, uninstall).splitlines()[-1])
        expect("authorizedkeyscommand /bin/true %u" in host.sshd(), host.sshd())


def run(host: Host, block: str) -> str:
    """Run a block as root in /root; return its output. StepError when a line fails."""
    done = host.machine.run("sh", "-euc", f"cd /root\n{block}", check=False)
    expect(done.returncode == 0, f"exit {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def pem(host: Host) -> None:
    """Put a certificate and its key where the page expects them."""
    host.machine.shell(
        "cd /root && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
        f"-subj /CN=host -addext subjectAltName=IP:{host.client.host} "
        "-keyout private_key.pem -out certificate.pem 2>/dev/null"
    )
    certificate = host.machine.run("cat", "/root/certificate.pem").stdout
    (host.work / "certificate.pem").write_text(certificate)
