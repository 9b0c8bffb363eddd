"""One host under test: its machine, a client beside it, the report, and shared actions."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.e2e.hosts.machine import Machine
from tests.e2e.hosts.network import Client
from tests.e2e.hosts.report import Report, expect

INSIDE = Path(__file__).parent / "inside"
# Where the scripts of `inside` are on the host.
SCRIPTS = "/opt/sixtykey-e2e"
# Held by the host that needs the processors: lookups have one second, even during a restart.
ALONE = threading.Lock()


class Secret(NamedTuple):
    """An access key and its secret."""

    access_key: str
    secret_key: str


@dataclass
class Host:
    """The context of every step. `packages`: the older build and this one, by name on the host."""

    machine: Machine
    client: Client
    report: Report
    work: Path
    older: str
    current: str
    sshd_before: str = ""
    pam_before: str = ""
    files_before: set[str] = field(default_factory=set)

    def prepare(self) -> None:
        """Make users and scripts that do not belong to sixtykey."""
        target = self.machine.root / SCRIPTS.lstrip("/")
        shutil.copytree(INSIDE, target)
        for user in ("alice", "bob", "carol"):
            # "*" is no password, and unlike "!" no locked account.
            self.machine.run("useradd", "-m", "-s", "/bin/bash", "-p", "*", user)

    def authorize(self, user: str, key: Path) -> None:
        """Add a key to the user's authorized_keys."""
        line = key.with_suffix(".pub").read_text()
        self.machine.shell(
            f"install -d -m 700 -o {user} -g {user} /home/{user}/.ssh; "
            f"cat > /home/{user}/.ssh/authorized_keys; chown {user}: /home/{user}/.ssh/*",
            text=line,
        )

    def python(self, script: str, *arguments: str, user: str = "") -> str:
        """Run Python on the host, with the modules of `inside`; return its output."""
        code = f"import sys; sys.path.insert(0, {SCRIPTS!r})\n{script}"
        return self.machine.run("python3", "-c", code, *arguments, user=user).stdout.strip()

    def identity(self) -> tuple[str, str, str]:
        """Instance id, zone and region, as the installed daemon prints them."""
        instance, zone, region = self.machine.run("sixtykeyd", "--print-identity").stdout.split()
        return instance, zone, region

    def push(self, user: str, key: Path, pusher: str = "") -> tuple[int, dict[str, Any]]:
        """Push a key file over the local socket, as root or as `pusher`."""
        instance, zone, _ = self.identity()
        done = self.python(
            "import json, push; print(json.dumps(push.push(*sys.argv[1:])))",
            instance, zone, user, key.with_suffix(".pub").read_text(), user=pusher,
        )  # fmt: skip
        status, body = json.loads(done)
        return status, body

    def aws(self, user: str, key: Path, secret: Secret) -> subprocess.CompletedProcess[str]:
        """Push with the real AWS CLI from the client, over HTTPS."""
        instance, zone, region = self.identity()
        return self.client.run(
            str(Path(sys.executable).parent / "aws"), "ec2-instance-connect",
            "send-ssh-public-key", "--instance-id", instance, "--availability-zone", zone,
            "--instance-os-user", user, "--ssh-public-key", f"file://{key}.pub",
            "--endpoint-url", f"https://{self.client.host}:8060", "--region", region,
            "--ca-bundle", str(self.work / "certificate.pem"), "--output", "json",
            environ={
                "AWS_ACCESS_KEY_ID": secret.access_key, "AWS_SECRET_ACCESS_KEY": secret.secret_key,
                "AWS_CONFIG_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_MAX_ATTEMPTS": "1", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            },
        )  # fmt: skip

    def main_pid(self) -> int:
        """The daemon's process id on the host; 0 when it is not running."""
        shown = self.machine.run("systemctl", "show", "-p", "MainPID", "--value", "sixtykeyd")
        return int(shown.stdout)

    def wait_active(self, seconds: float = 20.0) -> None:
        """Wait until the service is ready."""
        end = time.monotonic() + seconds
        while self.active() != "active":
            expect(time.monotonic() < end, f"sixtykeyd is {self.active()}")
            time.sleep(0.05)

    def active(self) -> str:
        """The service's state, as systemd names it."""
        return self.machine.run("systemctl", "is-active", "sixtykeyd", check=False).stdout.strip()

    def sshd(self) -> str:
        """sshd's effective configuration."""
        return self.machine.run("sshd", "-T").stdout

    def files(self) -> set[str]:
        """Every file of the host that a package could leave behind."""
        found = self.machine.shell(
            "find /etc /lib/systemd /run /usr /var/lib /var/log -xdev "
            "! -path '/var/lib/dpkg/*' ! -path '*/__pycache__*' ! -path '/run/systemd/*' "
            "! -path '/run/udev/*' ! -path '/var/log/journal/*' ! -path '/run/log/*'"
        )
        return set(found.splitlines())
