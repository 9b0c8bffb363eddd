"""Root directories of Debian hosts, made by mmdebstrap and kept as archives for the next run.

The mirror is that of this machine's apt, whose settings mmdebstrap reads.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import NamedTuple

CACHE = Path("build/e2e")

# Packages before sixtykey's installation: the distribution's sshd, and the tools of the steps.
BASE = (
    "systemd,systemd-sysv,dbus,openssh-server,openssh-client,python3,iproute2,procps,curl,openssl,"
    # The roots that sixtykeyd-ec2 trusts by default; Debian's images on EC2 have them too.
    "rpm,ca-certificates"
)
# What the deb depends on, so that apt installs it there without a network.
LIBRARIES = ",python3-paramiko,python3-cachetools,python3-yaml,python3-h11,python3-nacl"


class Image(NamedTuple):
    """The contents of a root: a release, its packages, and options of mmdebstrap."""

    release: str
    packages: str
    options: tuple[str, ...] = ("--variant=minbase",)


IMAGES = {
    "bookworm": Image("bookworm", f"{BASE}{LIBRARIES},apparmor"),
    "trixie": Image("trixie", f"{BASE}{LIBRARIES},apparmor,systemd-userdbd"),
    # Debian 11 stands in for Amazon Linux 2023 and Enterprise Linux 9: Python 3.9, OpenSSH 8.4,
    # none of the libraries that sixtykey uses.
    "bullseye": Image("bullseye", BASE),
    # Not booted, and no package script is run: only its programs run, under qemu.
    "arm64": Image(
        "bookworm", f"python3{LIBRARIES}", ("--variant=extract", "--architectures=arm64")
    ),
}


def archive(image: str) -> Path:
    """The archive of a root, which is made if it is missing (half a minute)."""
    release, packages, options = IMAGES[image]
    key = hashlib.sha256(packages.encode()).hexdigest()[:12]
    path = CACHE / f"{image}-{key}.tar"
    if path.exists():
        return path
    CACHE.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new.tar")
    subprocess.run(
        [
            "mmdebstrap",
            "--quiet",
            *options,
            f"--include={packages}",
            # As in some settings of this machine's apt: a snapshot mirror has old dates.
            '--aptopt=Acquire::Check-Valid-Until "false"',
            release,
            str(draft),
        ],
        check=True,
        env={**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    draft.rename(path)
    return path


def unpack(image: str, where: Path) -> Path:
    """Unpack a new root at `where`."""
    where.mkdir(parents=True)
    subprocess.run(["tar", "-C", str(where), "-xf", str(archive(image))], check=True)
    return where
