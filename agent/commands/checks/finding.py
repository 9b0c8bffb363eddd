"""Findings of a check, and where it looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

FAULT, NOTE, UNKNOWN, FACT = "fault", "note", "unknown", "fact"


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        name: its kind, for programs and the manual: `slot-taken`.
        severity: fault: logins or pushes fail, or the wrong people get in; note: it may be
            intended; unknown: it could not be examined; fact: information only.
        what: the finding, for people. `remedy`: what to do.
    """

    name: str
    severity: str
    what: str
    remedy: str

    def as_dict(self) -> dict[str, str]:
        """Its form in --json."""
        return {
            "Name": self.name,
            "Severity": self.severity,
            "What": self.what,
            "Remedy": self.remedy,
        }


def fault(name: str, what: str, remedy: str) -> Finding:
    """A finding of severity fault."""
    return Finding(name, FAULT, what, remedy)


def note(name: str, what: str, remedy: str) -> Finding:
    """A finding of severity note."""
    return Finding(name, NOTE, what, remedy)


def unknown(name: str, what: str, remedy: str = "run it as root") -> Finding:
    """A finding of severity unknown."""
    return Finding(name, UNKNOWN, what, remedy)


def fact(name: str, what: str) -> Finding:
    """A finding of severity fact."""
    return Finding(name, FACT, what, "")


@dataclass(frozen=True)
class Host:
    """The places of this host's files; only tests use others."""

    shadow: str = "/etc/shadow"
    shells: str = "/etc/shells"
    nologin: tuple[str, ...] = ("/etc/nologin", "/run/nologin")
    selinux_enforce: str = "/sys/fs/selinux/enforce"
    audit_log: str = "/var/log/audit/audit.log"
    root: str = "/"
    sshd: Optional[str] = None
    sshd_config: str = "/etc/ssh/sshd_config"


THIS_HOST = Host()
