"""Root directories of Debian hosts, made by mmdebstrap and kept as archives for the next run.

The mirror is the one that this machine's own apt uses (mmdebstrap reads it from there).
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

CACHE = Path("build/e2e")

# What a host has before sixtykey comes: the distribution's own sshd, and what steps look with.
BASE = (
    "systemd,systemd-sysv,dbus,openssh-server,openssh-client,python3,iproute2,procps,curl,openssl,"
    # The roots that sixtykeyd-ec2 trusts by default; Debian's images on EC2 have them too.
    "rpm,ca-certificates"
)
# What the deb depends on, so that apt installs it there without a network.
LIBRARIES = ",python3-paramiko,python3-cachetools,python3-yaml,python3-h11,python3-nacl,apparmor"
# Debian 11 stands in for Amazon Linux 2023 and Enterprise Linux 9: Python 3.9, OpenSSH 8.4, none
# of the libraries that sixtykey uses.
EXTRA = {"bookworm": LIBRARIES, "trixie": f"{LIBRARIES},systemd-userdbd", "bullseye": ""}


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
