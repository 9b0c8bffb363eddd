"""The helper, run by hand as sshd would run it."""

from __future__ import annotations

import subprocess
from typing import Optional

from tests.parts.sshd import HELPER


def ask_helper(lookup_socket: str, user: str, fingerprint: Optional[str] = None) -> list[str]:
    """Return the lines that the helper prints for a user; RuntimeError unless it ends with 0."""
    words = [user] if fingerprint is None else [user, fingerprint]
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-S", str(HELPER), "--socket", lookup_socket, *words],
        env={"PATH": "/usr/bin:/bin"}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=20,
    )  # fmt: skip
    if done.returncode != 0 or done.stderr:
        raise RuntimeError(f"helper: exit {done.returncode}: {done.stderr}")
    return done.stdout.splitlines()
