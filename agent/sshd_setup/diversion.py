"""Debian's way to have another file at a package's path: dpkg-divert(1).

What the package brings goes to another name, with its later versions, and nobody is asked about it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from agent.sshd_setup.sshd import SetupError, run

# Whose diversion it is, in dpkg's list; and dpkg's own name for what was diverted.
_PACKAGE, SUFFIX = "sixtykey", ".distrib"
_PATHS = "/usr/sbin:/usr/bin:/sbin:/bin"


class Diversion(NamedTuple):
    """That of one file, on the host whose files are below `root`."""

    path: str
    root: str = "/"

    @property
    def distributed(self) -> str:
        """The absolute path on that host of what the package brings."""
        return self.path + SUFFIX

    def is_wanted(self) -> bool:
        """Whether the file is a package's of dpkg's, so that dpkg would ask who changed it."""
        return _has_dpkg() and run(*self._of("dpkg-query"), "--search", self.path).returncode == 0

    def holder(self) -> str:
        """Whose diversion there is: a package, LOCAL, or nobody's."""
        if not _has_dpkg():
            return ""
        return run(*self._of("dpkg-divert"), "--listpackage", self.path).stdout.strip()

    def is_ours(self) -> bool:
        """Whether it is in force."""
        return self.holder() == _PACKAGE

    def add(self) -> None:
        """Have dpkg bring the file under the other name from now on. Raises SetupError."""
        self._change("--add")

    def remove(self) -> None:
        """Have dpkg bring the file under its own name again. Raises SetupError."""
        self._change("--remove")

    @contextmanager
    def changed(self, to: bool) -> Iterator[None]:
        """Be in force, or not; what the body raises takes that back. Raises SetupError."""
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
        # Without renaming: the path itself must at no time be without a file.
        words = ("--package", _PACKAGE, "--divert", self.distributed, "--no-rename", action)
        done = run(*self._of("dpkg-divert"), "--quiet", *words, self.path)
        if done.returncode:
            raise SetupError(f"dpkg-divert {action} {self.path}: {done.stderr.strip()}")

    def _of(self, program: str) -> tuple[str, str]:
        return program, f"--admindir={os.path.join(self.root, 'var/lib/dpkg')}"


def _has_dpkg() -> bool:
    return shutil.which("dpkg-divert", path=_PATHS) is not None
