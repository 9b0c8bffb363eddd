"""A real dpkg with a separate database, and packages that are made for it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.parts.host import tool


class Dpkg:
    """dpkg for the files below `root`. Its stdin is empty, so its questions get no answer."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._admin = root / "var/lib/dpkg"
        for folder in ("info", "updates", "triggers"):
            (self._admin / folder).mkdir(parents=True)
        for name in ("status", "available"):
            (self._admin / name).touch()

    def install(self, package: str, version: str, conffiles: Mapping[str, str]) -> str:
        """Install a package with these conffiles; return dpkg's output.

        Raises CalledProcessError if dpkg fails, as it does where it would ask a question.
        """
        tree = self.root / f"{package}-{version}"
        control = tree / "DEBIAN"
        control.mkdir(parents=True, exist_ok=True)
        (control / "control").write_text(
            f"Package: {package}\nVersion: {version}\nArchitecture: all\n"
            "Maintainer: nobody <nobody@example.invalid>\nDescription: a test\n"
        )
        (control / "conffiles").write_text("".join(f"{path}\n" for path in conffiles))
        for path, content in conffiles.items():
            target = tree / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content)
        deb = self.root / f"{tree.name}.deb"
        self._run("dpkg-deb", "--build", "--root-owner-group", str(tree), str(deb))
        return self._run("dpkg", f"--root={self.root}", "--force-script-chrootless", "-i", str(deb))

    def purge(self, package: str) -> str:
        """Remove a package with its conffiles; return dpkg's output."""
        return self._run("dpkg", f"--root={self.root}", "--purge", package)

    def divert(self, path: str, to: str) -> None:
        """Add a local diversion, as an administrator would."""
        self._run(
            "dpkg-divert", f"--admindir={self._admin}", "--local", "--no-rename",
            "--divert", to, "--add", path,
        )  # fmt: skip

    def diversions(self) -> list[str]:
        """The diverted paths."""
        listed = self._run("dpkg-divert", f"--admindir={self._admin}", "--list")
        return [line.split()[-5] for line in listed.splitlines()]

    def _run(self, program: str, *arguments: str) -> str:
        return subprocess.run(
            [tool(program, "dpkg"), *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=True, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
        ).stdout  # fmt: skip
