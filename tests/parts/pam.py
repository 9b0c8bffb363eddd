"""An sshd with PAM, whose account phase runs the compiled pam-account: as root, alone with it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.parts.host import ROOT, tool
from tests.parts.sshd import RunningSshd

PROGRAM = Path("/usr/lib/sixtykey/pam-account")
SERVICE = """\
auth required pam_permit.so
account required pam_exec.so quiet {program} --socket {socket}
account required pam_permit.so
session required pam_permit.so
"""


@contextlib.contextmanager
def pam_namespace(directory: Path) -> Iterator[list[str]]:
    """How to run a command that sees another /etc/pam.d, and pam-account where packages have it.

    The mounts are the command's own (mount_namespaces(7)): nobody else on this host sees them.
    """
    services, programs = directory / "pam.d", directory / "lib"
    for folder in (services, programs):
        folder.mkdir(mode=0o755)
    line = SERVICE.format(program=PROGRAM, socket=directory / "lookup.sock")
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
    made = not PROGRAM.parent.exists()
    PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    mounts = f"mount --bind {services} /etc/pam.d && mount --bind {programs} {PROGRAM.parent}"
    try:
        yield [
            tool("unshare", "util-linux"), "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh"
        ]  # fmt: skip
    finally:
        if made:
            # Another test may be using it as its mount point.
            with contextlib.suppress(OSError):
                PROGRAM.parent.rmdir()


@contextlib.contextmanager
def sshd_with_pam(directory: Path, prefix: list[str]) -> Iterator[RunningSshd]:
    """sshd in that namespace, with PAM; ordinary keys stand in `directory`/authorized_keys."""
    settings = [
        "UsePAM yes", "StrictModes no", f"AuthorizedKeysFile {directory / 'authorized_keys'}",
    ]  # fmt: skip
    socket = str(directory / "lookup.sock")
    with RunningSshd(directory, socket, settings=settings, prefix=prefix) as sshd:
        yield sshd
