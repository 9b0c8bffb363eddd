"""Steps: the package is removed, and the host is as before."""

from __future__ import annotations

import subprocess

from tests.e2e.hosts import one_time
from tests.e2e.hosts.host import Host
from tests.e2e.hosts.report import expect


class Session:
    """An ssh session that must survive everything that is done to sshd."""

    def __init__(self, host: Host) -> None:
        key = host.client.key("session")
        host.authorize("carol", key)
        command = [
            "ip",
            "netns",
            "exec",
            host.client.namespace,
            *host.client.ssh("carol", key, "cat"),
        ]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.echo("hello\n")

    def echo(self, line: str) -> None:
        """Send a line through the session and back. Raises StepError: the session has dropped."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()
        expect(self._process.stdout.readline() == line, "the session has dropped")

    def close(self) -> None:
        """End the session."""
        self._process.kill()
        self._process.communicate()


def remove(host: Host, session: Session) -> None:
    """apt remove, then purge."""
    key = host.client.key("afterwards")
    host.authorize("alice", key)
    with host.report.step("apt remove: sshd as before, own keys log in, sessions stay") as seen:
        host.machine.run("apt-get", "remove", "-y", "sixtykey")
        expect(host.sshd() == host.sshd_before, "sshd's configuration is another")
        expect(one_time.pam(host) == host.pam_before, "PAM's files are others")
        expect(host.client.login("alice", key) == "alice", "the user's own key")
        expect(host.active() != "active", "the daemon still runs")
        kept = host.machine.shell("ls /etc/sixtykey")
        session.echo("still here\n")
        seen.append(f"kept for a new installation: {' '.join(kept.split())}")
    with host.report.step("apt purge: nothing is left") as seen:
        host.machine.run("apt-get", "purge", "-y", "sixtykey")
        left = {
            name
            for name in host.files() - host.files_before
            if "sixtykey" in name or name.startswith("/etc/ssh/")
        }
        expect(not left, "left behind: " + " ".join(sorted(left)))
        names = host.machine.shell("getent passwd; getent group")
        expect("sixtykey" not in names, names)
        expect(host.client.login("alice", key) == "alice", "the user's own key")
        session.echo("to the end\n")
        seen.append(
            "no file, user or group; the session from before the installation is still there"
        )
