"""The sshd to set up: its files, their effective values, and how to reload or restart it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import NamedTuple


class SetupError(Exception):
    """It cannot be done; the text says why and what to do. Nothing is changed."""


class NotReloaded(Exception):
    """Files are changed, but the running sshd has not reloaded them; the text says more."""


class Sshd(NamedTuple):
    """One sshd: its program and its main file. `root`: the tree with its units and defaults."""

    program: str
    config: str
    root: str = "/"

    @property
    def drop_in(self) -> str:
        """The path of our own file.

        It sorts before the drop-ins of others, such as 20-systemd-userdb.conf and 50-redhat.conf.
        """
        return os.path.join(os.path.dirname(self.config), "sshd_config.d", "10-sixtykey.conf")

    @property
    def main(self) -> str:
        """The main file's real path, with links resolved."""
        return os.path.realpath(self.config)

    @property
    def is_booted(self) -> bool:
        """Whether systemd runs there and takes commands."""
        return self.root == "/" and os.path.isdir("/run/systemd/system")

    def test(self) -> None:
        """Raise SetupError unless `sshd -t` accepts the files."""
        done = run(self.program, "-t", "-f", self.config)
        if done.returncode:
            raise SetupError(f"sshd -t does not accept the configuration:\n{done.stderr.strip()}")

    def effective(self) -> dict[str, str]:
        """The output of `sshd -T`, by lower-case keyword. Raises SetupError: invalid files."""
        spec = "user=root,host=localhost,addr=127.0.0.1"
        done = run(self.program, "-T", "-f", self.config, "-C", spec)
        if done.returncode:
            raise SetupError(f"sshd -T does not accept the configuration:\n{done.stderr.strip()}")
        return dict(line.partition(" ")[::2] for line in done.stdout.splitlines())

    def reload(self) -> None:
        """Make a running sshd reload its files. Sessions are separate processes and stay open.

        Raises:
            NotReloaded: the service manager reports a failure.
        """
        for unit in ("ssh.service", "sshd.service"):
            if self.is_booted and run("systemctl", "is-active", "--quiet", unit).returncode == 0:
                done = run("systemctl", "reload", unit)
                if done.returncode:
                    raise NotReloaded(
                        "sshd's files are changed, and are valid, but it was not reloaded: "
                        f"{done.stderr.strip()}\nFind out why, then: systemctl reload {unit}"
                    )
                return

    def running(self, units: Sequence[str]) -> list[str]:
        """The units, of these, that run now."""
        return [
            unit for unit in units
            if self.is_booted and run("systemctl", "is-active", "--quiet", unit).returncode == 0
        ]  # fmt: skip

    def restart_units(self, running: Sequence[str]) -> None:
        """Make systemd reload its units and restart these; sessions stay open.

        A reload of sshd alone would keep its command line. A unit that has just failed is started
        too, since it ran before. Raises SetupError: systemd reports a failure.
        """
        if not self.is_booted:
            return
        run("systemctl", "reset-failed", *running)
        for words in (["daemon-reload"], *(["restart", unit] for unit in running)):
            done = run("systemctl", *words)
            if done.returncode:
                raise SetupError(f"systemctl {' '.join(words)}: {done.stderr.strip()}")

    def restart_daemon(self) -> None:
        """Restart a running sixtykeyd, so that it checks PAM's line again. Raises SetupError."""
        unit = "sixtykeyd.service"
        if self.is_booted and (done := run("systemctl", "try-restart", unit)).returncode:
            raise SetupError(
                f"{unit} does not start any more: with keys.uses: once, or a credential's, it "
                f"needs the line that was just removed. journalctl -u {unit}\n{done.stderr.strip()}"
            )


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, and capture its output."""
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
        check=False,
    )  # fmt: skip
