"""Root directories of Debian hosts, made by mmdebstrap and kept as archives for the next run.

The mirror is the one that this machine's own apt uses (mmdebstrap reads it from there).
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

CACHE = Path("build/e2e")

# What a host has before sixtykey comes: Debian's own sshd, and what sixtykey depends on, so that
# apt installs the package there without a network.
BASE = (
    "systemd,systemd-sysv,dbus,openssh-server,openssh-client,python3,iproute2,procps,curl,openssl,"
    "python3-paramiko,python3-cachetools,python3-yaml,python3-h11,python3-nacl,rpm,apparmor,"
    # The roots that sixtykeyd-ec2 trusts by default; Debian's images on EC2 have them too.
    "ca-certificates"
)
EXTRA = {"bookworm": "", "trixie": ",systemd-userdbd"}


def archive(release: str) -> Path:
    """The archive of a release's root; made when it is not there yet (half a minute)."""
    packages = BASE + EXTRA[release]
    key = hashlib.sha256(packages.encode()).hexdigest()[:12]
    path = CACHE / f"{release}-{key}.tar"
    if path.exists():
        return path
    CACHE.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new.tar")
    subprocess.run(
        [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            f"--include={packages}",
            # As this machine's apt may be told: a mirror that is a snapshot has old dates.
            '--aptopt=Acquire::Check-Valid-Until "false"',
            release,
            str(draft),
        ],
        check=True,
        env={**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    draft.rename(path)
    return path


def unpack(release: str, where: Path) -> Path:
    """A fresh root at `where`."""
    where.mkdir(parents=True)
    subprocess.run(["tar", "-C", str(where), "-xf", str(archive(release))], check=True)
    return where
