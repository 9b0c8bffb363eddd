"""PAM's files on a host on which sshd-setup is run, and checks of them."""

from __future__ import annotations

from agent.sshd_files.pam_file import SERVICE, account_lines, line_faults
from tests.parts.pam_host import at
from tests.sshd_setup.etc import Etc

# Modules that let root in on every host, in the forms of the two families.
DEBIAN = (
    "# openssh-server's own, {0}\n@include common-auth\naccount    required     pam_permit.so\n"
    "@include common-account\nsession    required     pam_permit.so\n"
)
ACCOUNT = "account\t[success=1 new_authtok_reqd=done default=ignore]\tpam_permit.so\n"
ACCOUNT += "account\trequisite\tpam_deny.so\naccount\trequired\tpam_permit.so\n"


def faults(host: Etc) -> list[str]:
    """The faults of PAM's line by name."""
    lines = list(account_lines(str(at(host.folder, SERVICE)), str(host.folder)))
    return [fault.name for fault in line_faults(lines)]


def snapshot(host: Etc) -> dict[str, tuple[int, bytes]]:
    """Mode and content of all of PAM's files."""
    folder = at(host.folder, SERVICE).parent
    return {p.name: (p.stat().st_mode, p.read_bytes()) for p in folder.iterdir()}
