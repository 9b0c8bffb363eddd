"""This host as `sixtykey check` sees it, with a temporary sshd_config for the real sshd -T."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from tests.parts.command import Done, run
from tests.parts.daemon import RunningDaemon
from tests.parts.host import helper_user

# Findings that are accepted on a test machine.
HARMLESS = {"clock-unsynchronised"}


@dataclass
class CheckedHost:
    """A daemon, an sshd_config that asks it, and a user who may log in."""

    daemon: RunningDaemon
    folder: Path
    helper: str
    user: str

    @property
    def asking(self) -> list[str]:
        """The two lines that connect sshd to the daemon."""
        return [
            f"AuthorizedKeysCommand {self.helper} --socket {self.daemon.lookup_socket} %u %f",
            f"AuthorizedKeysCommandUser {helper_user()}",
        ]

    def sshd(self, *lines: str, name: str = "sshd_config") -> Path:
        """Write an sshd configuration of these lines and a host key."""
        path = self.folder / name
        more = [f"HostKey {self.folder}/host_key", "UsePAM no"]
        path.write_text("\n".join([*more, *lines]) + "\n")
        return path

    def check(
        self, *words: str, config: Optional[Path] = None, sshd: Optional[Path] = None
    ) -> Done:
        """Run the check."""
        sshd = sshd or self.sshd(*self.asking)
        config = config or self.daemon.config_file
        return run("check", *words, "--config", str(config), "--sshd-config", str(sshd))

    def finds(self, *words: str, **more: Any) -> dict[str, dict[str, str]]:
        """The findings by name; fail unless the exit code and the text output agree with them."""
        done = self.check("--json", *words, **more)
        found = {finding["Name"]: finding for finding in done.json["Findings"]}
        severities = {finding["Severity"] for finding in found.values()}
        expected = 1 if "fault" in severities else 2 if "unknown" in severities else 0
        assert done.code == expected, done
        said = self.check(*words, **more)
        assert said.code == expected
        assert all(f" {name}: " in said.out for name in found)
        assert all(f"-> {finding['Remedy']}" in said.out for finding in found.values())
        return {name: finding for name, finding in found.items() if name not in HARMLESS}
