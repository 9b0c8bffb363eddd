"""An sshd with PAM, whose account phase runs only the compiled pam-account; needs root."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.parts.host import ROOT, tool
from tests.parts.sshd import RunningSshd

PROGRAM = Path("/usr/lib/sixtykey/pam-account")
# A test may write the program `between`, which runs between the hand-out and the question.
BETWEEN = "between"
SERVICE = """\
auth required pam_permit.so
account optional pam_exec.so quiet {directory}/between
account required pam_exec.so quiet {program} --socket {directory}/lookup.sock
account required pam_permit.so
session required pam_permit.so
"""


@contextlib.contextmanager
def pam_namespace(directory: Path) -> Iterator[list[str]]:
    """The prefix of a command that sees another /etc/pam.d, and pam-account where packages have it.

    Only the command sees the mounts, by its mount namespace (mount_namespaces(7)).
    """
    services, programs = directory / "pam.d", directory / "lib"
    for folder in (services, programs):
        folder.mkdir(mode=0o755)
    (directory / BETWEEN).write_text("#!/bin/sh\nexit 0\n")
    (directory / BETWEEN).chmod(0o755)
    line = SERVICE.format(program=PROGRAM, directory=directory)
    for name in ("sshd", "other"):
        (services / name).write_text(line)
    subprocess.run(
        [str(ROOT / "agent" / "helper" / "build"), str(programs / PROGRAM.name)],
        env={
            **os.environ,
            "SOURCE": str(ROOT / "agent" / "helper" / "pam_account.c"),
            "CC": tool("gcc", "gcc"),
        },
        check=True,
        timeout=60,
    )
    mounts = f"mount --bind {services} /etc/pam.d && mount --bind {programs} {PROGRAM.parent}"
    with _mount_point(PROGRAM.parent):
        yield [
            tool("unshare", "util-linux"), "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh"
        ]  # fmt: skip


@contextlib.contextmanager
def _mount_point(folder: Path) -> Iterator[None]:
    """Make the folder; remove it afterwards if it is empty and no other test uses it.

    Removing it would also remove what is mounted there in other namespaces (rmdir(2)).
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            opened = os.open(folder, os.O_RDONLY)
            fcntl.flock(opened, fcntl.LOCK_SH)
            # Otherwise another test has removed it and made it again.
            if folder.exists() and os.path.samestat(os.fstat(opened), folder.stat()):
                break
            os.close(opened)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            folder.rmdir()
        os.close(opened)


@contextlib.contextmanager
def sshd_with_pam(
    directory: Path, prefix: list[str], more: Sequence[str] = ()
) -> Iterator[RunningSshd]:
    """An sshd in that namespace, with PAM; ordinary keys are in `directory`/authorized_keys.

    `more` are further lines of sshd_config.
    """
    settings = [
        "UsePAM yes", "StrictModes no", f"AuthorizedKeysFile {directory / 'authorized_keys'}",
        "Subsystem sftp internal-sftp", *more,
    ]  # fmt: skip
    socket = str(directory / "lookup.sock")
    with RunningSshd(directory, socket, settings=settings, prefix=prefix) as sshd:
        yield sshd
