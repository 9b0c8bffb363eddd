"""Diversions, Debian's way to put another file at a package's path: dpkg-divert(1).

dpkg installs the package's file, and its later versions, under another name. So an upgrade does not
ask about a changed file.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from agent.sshd_setup.sshd import SetupError, run

# The diversion's owner in dpkg's list, and dpkg's suffix for the diverted file.
_PACKAGE, SUFFIX = "sixtykey", ".distrib"
_PATHS = "/usr/sbin:/usr/bin:/sbin:/bin"


class Diversion(NamedTuple):
    """The diversion of one file, on the host whose files are below `root`."""

    path: str
    root: str = "/"

    @property
    def distributed(self) -> str:
        """The absolute path, on that host, of the package's file."""
        return self.path + SUFFIX

    def is_wanted(self) -> bool:
        """Whether the file belongs to a dpkg package: then dpkg would ask about a changed file."""
        return _has_dpkg() and run(*self._of("dpkg-query"), "--search", self.path).returncode == 0

    def holder(self) -> str:
        """The owner of the present diversion: a package, LOCAL, or empty."""
        if not _has_dpkg():
            return ""
        return run(*self._of("dpkg-divert"), "--listpackage", self.path).stdout.strip()

    def is_ours(self) -> bool:
        """Whether our diversion is active."""
        return self.holder() == _PACKAGE

    def add(self) -> None:
        """Make dpkg install the file under the other name from now on. Raises SetupError."""
        self._change("--add")

    def remove(self) -> None:
        """Make dpkg install the file under its own name again. Raises SetupError."""
        self._change("--remove")

    @contextmanager
    def switch(self, to: bool) -> Iterator[None]:
        """Activate or remove the diversion; undo that if the body raises. Raises SetupError."""
        before = self.is_ours()
        if before != to:
            (self.add if to else self.remove)()
        try:
            yield
        except BaseException:
            if before != to:
                (self.remove if to else self.add)()
            raise

    def _change(self, action: str) -> None:
        # Without renaming: there must be a file at the path at all times.
        words = ("--package", _PACKAGE, "--divert", self.distributed, "--no-rename", action)
        done = run(*self._of("dpkg-divert"), "--quiet", *words, self.path)
        if done.returncode:
            raise SetupError(f"dpkg-divert {action} {self.path}: {done.stderr.strip()}")

    def _of(self, program: str) -> tuple[str, str]:
        return program, f"--admindir={os.path.join(self.root, 'var/lib/dpkg')}"


def _has_dpkg() -> bool:
    return shutil.which("dpkg-divert", path=_PATHS) is not None
