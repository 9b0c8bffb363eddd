"""A file system to fill and to make read-only: a tmpfs in a separate mount namespace."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.parts.host import IS_ROOT, tool
from tests.parts.part import Part

# Mounting needs root. CI has root, directly or by sudo, so the test is never skipped there.
needs_root = pytest.mark.skipif(not IS_ROOT, reason="mounting a file system needs root")


class SmallDisk(Part):
    """A tmpfs of `size` on `folder`, visible only to processes that are started with `prefix`."""

    def __init__(self, folder: Path, size: str = "1m") -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        mount = f"mount -t tmpfs -o size={size},mode=0755 none {folder} && echo && exec sleep 600"
        self._holder = subprocess.Popen(
            [tool("unshare", "util-linux"), "--mount", "--propagation", "private",
             "sh", "-c", mount],
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"\n"

    @property
    def prefix(self) -> list[str]:
        """A command that executes another one in the disk's mount namespace."""
        return [tool("nsenter", "util-linux"), "-t", str(self._holder.pid), "-m", "--"]

    def run(self, script: str) -> str:
        """Run a shell script in the disk's folder; return its output."""
        return subprocess.run(
            [*self.prefix, "sh", "-c", f"cd {self.folder} && {script}"],
            check=True, capture_output=True, text=True, timeout=30,
        ).stdout  # fmt: skip

    def fill(self) -> None:
        """Fill the disk completely."""
        self.run("dd if=/dev/zero of=fill bs=4096 2>/dev/null || true")

    def free(self) -> None:
        """Free the space that `fill` took."""
        self.run("rm -f fill")

    def remount(self, option: str) -> None:
        """Remount the disk with `ro` or `rw`."""
        self.run(f"mount -o remount,{option} {self.folder}")

    def finish(self) -> None:
        """End the namespace, which removes the disk."""
        self._holder.kill()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()
