"""An sshd with PAM, whose account phase runs the compiled pam-account: as root, alone with it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.parts.daemon import RunningDaemon
from tests.parts.host import ROOT, tool
from tests.parts.sshd import RunningSshd

SERVICE = """\
auth required pam_permit.so
account required pam_exec.so quiet {program} --socket {socket}
account required pam_permit.so
session required pam_permit.so
"""


@contextlib.contextmanager
def pam_account() -> Iterator[Path]:
    """The compiled program, where nobody but root can change it."""
    folder = Path(tempfile.mkdtemp(prefix="sixtykey-pam-", dir="/var/lib"))
    try:
        folder.chmod(0o755)
        program = folder / "pam-account"
        source = str(ROOT / "agent" / "helper" / "pam_account.c")
        subprocess.run(
            [str(ROOT / "agent" / "helper" / "build"), str(program)],
            env={**os.environ, "SOURCE": source, "CC": tool("gcc", "gcc")},
            check=True, timeout=60,
        )  # fmt: skip
        yield program
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def sshd_with_pam(directory: Path, daemon: RunningDaemon) -> Iterator[RunningSshd]:
    """sshd for this daemon; /etc/pam.d is another one for it alone (mount_namespaces(7))."""
    with pam_account() as program:
        services = directory / "pam.d"
        services.mkdir()
        line = SERVICE.format(program=program, socket=daemon.lookup_socket)
        for name in ("sshd", "other"):
            (services / name).write_text(line)
        mount = f'mount --bind {services} /etc/pam.d && exec "$@"'
        prefix = [tool("unshare", "util-linux"), "--mount", "sh", "-c", mount, "sh"]
        file = directory / "authorized_keys"
        settings = ["UsePAM yes", "StrictModes no", f"AuthorizedKeysFile {file}"]
        with RunningSshd(directory, daemon.lookup_socket, settings=settings, prefix=prefix) as sshd:
            yield sshd
