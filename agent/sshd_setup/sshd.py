"""The sshd that is set up: where its files are, what it makes of them, and how it is told."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import NamedTuple


class SetupError(Exception):
    """It cannot be done; the words say why and what to do. Nothing has been changed."""


class NotReloaded(Exception):
    """Files have been changed, and the sshd that runs does not know; the words say what is."""


class Sshd(NamedTuple):
    """One sshd: its program, its main file. `root` is where its command line's options stand."""

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
        """The main file itself, where its path is a link."""
        return os.path.realpath(self.config)

    @property
    def is_booted(self) -> bool:
        """Whether systemd runs there, and can be told things."""
        return self.root == "/" and os.path.isdir("/run/systemd/system")

    def test(self) -> None:
        """Raise SetupError unless `sshd -t` accepts the files."""
        done = run(self.program, "-t", "-f", self.config)
        if done.returncode:
            raise SetupError(f"sshd -t does not accept the configuration:\n{done.stderr.strip()}")

    def effective(self) -> dict[str, str]:
        """What `sshd -T` says, by lower-case keyword. Raises SetupError: not valid."""
        spec = "user=root,host=localhost,addr=127.0.0.1"
        done = run(self.program, "-T", "-f", self.config, "-C", spec)
        if done.returncode:
            raise SetupError(f"sshd -T does not accept the configuration:\n{done.stderr.strip()}")
        return dict(line.partition(" ")[::2] for line in done.stdout.splitlines())

    def reload(self) -> None:
        """Have a running sshd read its files again; sessions are processes of their own, and stay.

        Raises:
            NotReloaded: the service manager says that it was not done.
        """
        for unit in ("ssh.service", "sshd.service"):
            if self.is_booted and run("systemctl", "is-active", "--quiet", unit).returncode == 0:
                done = run("systemctl", "reload", unit)
                if done.returncode:
                    raise NotReloaded(
                        "sshd's files are changed, and are valid, but it was not reloaded: "
                        f"{done.stderr.strip()}\nLook why, then: systemctl reload {unit}"
                    )
                return

    def running(self, units: Sequence[str]) -> list[str]:
        """Those of these units that run now."""
        return [
            unit for unit in units
            if self.is_booted and run("systemctl", "is-active", "--quiet", unit).returncode == 0
        ]  # fmt: skip

    def start_anew(self, running: Sequence[str]) -> None:
        """Have systemd read its units, and start these again; sessions stay.

        (sshd that reloads keeps its command line.) One that has just failed to start is started,
        too: what ran before shall run. Raises SetupError: systemd says that it failed.
        """
        if not self.is_booted:
            return
        run("systemctl", "reset-failed", *running)
        for words in (["daemon-reload"], *(["restart", unit] for unit in running)):
            done = run("systemctl", *words)
            if done.returncode:
                raise SetupError(f"systemctl {' '.join(words)}: {done.stderr.strip()}")

    def restart_daemon(self) -> None:
        """Have a running sixtykeyd look anew at what it may promise. Raises SetupError."""
        unit = "sixtykeyd.service"
        if self.is_booted and (done := run("systemctl", "try-restart", unit)).returncode:
            raise SetupError(
                f"{unit} does not start any more: with keys.uses: once, or a credential's, it "
                f"needs what was just taken away. journalctl -u {unit}\n{done.stderr.strip()}"
            )


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, and keep what it says."""
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
        check=False,
    )  # fmt: skip
