"""One sshd-setup at a time: a package's script and an administrator must not undo each other."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from agent.sshd_setup.sshd import SetupError

# /run is root's, and its files end with the boot. Only the removal of the package removes the file:
# whoever waits for it would otherwise hold the lock of a file that the next run does not find.
_FILE = "run/sixtykey-sshd-setup.lock"
# Seconds: a run restarts sshd at most twice, and systemd gives each 90 s before it kills it.
WAIT = 200.0
_POLL = 0.1


@contextmanager
def only_one(root: str) -> Iterator[None]:
    """Run the body while no other sshd-setup runs on this host; waits for one (flock(2)).

    Raises:
        SetupError: another one has not ended in time. OSError: the lock cannot be made.
    """
    path = os.path.join(root, _FILE)
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    # The kernel releases it when this process ends, however it ends.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        _wait_for(descriptor)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int) -> None:
    deadline = time.monotonic() + WAIT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
                raise SetupError(
                    f"another sshd-setup is running (process {holder or 'unknown'}): "
                    "wait until it has ended, then run this again"
                ) from None
            time.sleep(_POLL)
        else:
            return
