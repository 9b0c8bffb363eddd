"""The files of a host whose sshd uses pam-account, below a folder."""

from __future__ import annotations

from pathlib import Path

from agent.sshd_files.pam_file import LINE, PROGRAM, SERVICE

DEBIAN = """\
# PAM configuration for the Secure Shell service

# Standard Un*x authentication.
@include common-auth

# Disallow non-root logins when /etc/nologin exists.
account    required     pam_nologin.so

# Standard Un*x authorization.
@include common-account

session    required     pam_limits.so
"""
DEBIAN_ACCOUNT = """\
account	[success=1 new_authtok_reqd=done default=ignore]	pam_unix.so
account	requisite			pam_deny.so
account	required			pam_permit.so
"""
RED_HAT = """\
#%PAM-1.0
auth       substack     password-auth
account    required     pam_sepermit.so
account    required     pam_nologin.so
account    include      password-auth
session    include      password-auth
"""
RED_HAT_ACCOUNT = """\
auth        required      pam_env.so
account     required      pam_unix.so
account     sufficient    pam_localuser.so
account     required      pam_permit.so
"""
STACKS = {"debian": DEBIAN, "red hat": RED_HAT}


def at(root: Path, path: str) -> Path:
    """The place of the host's absolute path below `root`."""
    return root / path.lstrip("/")


def lay_out(root: Path, stack: str = DEBIAN) -> Path:
    """Write PAM's files, sshd's and pam-account; return the path of PAM's file for sshd."""
    service, program = at(root, SERVICE), at(root, PROGRAM)
    for folder in (service.parent, program.parent, root / "etc" / "ssh"):
        folder.mkdir(parents=True, exist_ok=True)
    service.write_text(stack)
    (service.parent / "common-auth").write_text("auth required pam_unix.so\n")
    (service.parent / "common-account").write_text(DEBIAN_ACCOUNT)
    (service.parent / "password-auth").write_text(RED_HAT_ACCOUNT)
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    (root / "etc/ssh/sshd_config").write_text("UsePAM yes\n")
    return service


def with_line(stack: str, line: str = LINE) -> str:
    """A stack with this line at the head of its account phase."""
    before, account, after = stack.partition("account ")
    return f"{before}{line}\n{account}{after}"
