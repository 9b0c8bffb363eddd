"""Simulated hosts on which sshd-setup is run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from agent.sshd_files.pam_file import PROGRAM, SERVICE
from tests.parts.dpkg import Dpkg
from tests.parts.pam_host import RED_HAT, at
from tests.sshd_setup.etc import Etc
from tests.sshd_setup.pam import ACCOUNT, DEBIAN


@pytest.fixture
def etc(tmp_path: Path) -> Etc:
    """A host's files."""
    return Etc(tmp_path)


@pytest.fixture
def host(etc: Etc) -> Etc:
    """A host whose sshd uses PAM, with pam-account; its files belong to no dpkg package."""
    etc.write("UsePAM yes\n")
    program = at(etc.folder, PROGRAM)
    program.parent.mkdir(parents=True)
    shutil.copy("/bin/true", program)
    folder = at(etc.folder, SERVICE).parent
    folder.mkdir(parents=True)
    (folder / "common-auth").write_text("auth required pam_permit.so\n")
    (folder / "common-account").write_text(ACCOUNT)
    (folder / "password-auth").write_text("account sufficient pam_permit.so\n")
    at(etc.folder, SERVICE).write_text(RED_HAT.replace("pam_sepermit", "pam_permit"))
    return etc


@pytest.fixture
def debian(host: Etc) -> tuple[Etc, Dpkg]:
    """The same host, where dpkg has installed PAM's file for sshd as a conffile."""
    at(host.folder, SERVICE).unlink()
    dpkg = Dpkg(host.folder)
    dpkg.install("openssh-server", "1", {SERVICE: DEBIAN.format(1)})
    return host, dpkg
