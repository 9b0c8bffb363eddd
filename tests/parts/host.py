"""What the parts need from the host: tools, a work directory, ports, OS users."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
IS_ROOT = os.geteuid() == 0


class MissingToolError(Exception):
    """A program that a part needs is missing; the message names the package that has it."""


def tool(name: str, package: str) -> str:
    """Return the path of a program: beside this interpreter, on PATH, or in the sbin folders.

    Raises MissingToolError, with the Debian package that has it.
    """
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise MissingToolError(f"{name} is missing: install {package}")
    return found


@contextlib.contextmanager
def work_directory() -> Iterator[Path]:
    """Make a directory that other users can enter, with a path short enough for a socket's."""
    path = Path(tempfile.mkdtemp(prefix="sixtykey-"))
    try:
        # sshd's helper runs as another user when we are root.
        path.chmod(0o755)
        yield path
    finally:
        shutil.rmtree(path)


def free_port() -> int:
    """Return an unused TCP port; another process may still take it before it is bound.

    It is unused on every address: a load test's clients bind thousands all over 127.0.0.0/8.
    """
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return int(probe.getsockname()[1])


def own_name() -> str:
    """Return the name of the OS user that runs this."""
    return pwd.getpwuid(os.geteuid()).pw_name


def helper_user() -> str:
    """Return the user of sshd's helper: an unprivileged one under root's sshd, else this user."""
    return "nobody" if IS_ROOT else own_name()


def helper_group() -> str:
    """Return the group through which `helper_user` can connect to the lookup socket."""
    return grp.getgrgid(pwd.getpwnam(helper_user()).pw_gid).gr_name


def _account_command(*command: str) -> None:
    # Other tests add and remove users at the same time, and /etc/passwd has one lock.
    for attempt in range(50):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        if "lock" not in done.stderr and "currently used" not in done.stderr:
            break
        time.sleep(0.05 * (attempt + 1))
    raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


@contextlib.contextmanager
def os_user(home: str = "/") -> Iterator[str]:
    """Make an OS user that can log in with a key only; needs root.

    The password field is `*`: no password matches, and unlike `!` sshd does not regard it as
    locked.
    """
    name = f"sixty-{secrets.token_hex(4)}"
    _account_command(
        tool("useradd", "passwd"), "--no-create-home", "--home-dir", home, "--shell", "/bin/sh",
        "--password", "*", name,
    )  # fmt: skip
    try:
        yield name
    finally:
        _account_command(tool("userdel", "passwd"), name)


@contextlib.contextmanager
def login_user() -> Iterator[str]:
    """Yield an OS user that sshd can log in: a new one for root's sshd, else this user."""
    if IS_ROOT:
        with os_user() as name:
            yield name
    else:
        yield own_name()
