"""What a check has found, and where it looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

FAULT, NOTE, UNKNOWN, FACT = "fault", "note", "unknown", "fact"


@dataclass(frozen=True)
class Finding:
    """One thing to know.

    Attributes:
        name: what kind of thing, for programs and for the manual: `slot-taken`.
        severity: fault, it keeps logins or pushes from working, or lets the wrong people in; note,
            it may be meant so; unknown, it could not be looked at; fact, good to know, no trouble.
        what: what is there, for people. `remedy`: what to do.
    """

    name: str
    severity: str
    what: str
    remedy: str

    def told(self) -> dict[str, str]:
        """As --json has it."""
        return {
            "Name": self.name,
            "Severity": self.severity,
            "What": self.what,
            "Remedy": self.remedy,
        }


def fault(name: str, what: str, remedy: str) -> Finding:
    """Something does not work."""
    return Finding(name, FAULT, what, remedy)


def note(name: str, what: str, remedy: str) -> Finding:
    """Something may be meant so."""
    return Finding(name, NOTE, what, remedy)


def unknown(name: str, what: str, remedy: str = "run it as root") -> Finding:
    """Something could not be looked at."""
    return Finding(name, UNKNOWN, what, remedy)


def fact(name: str, what: str) -> Finding:
    """Something is so, and nothing has to be done."""
    return Finding(name, FACT, what, "")


@dataclass(frozen=True)
class Host:
    """Where this host keeps what is looked at; only tests look elsewhere."""

    shadow: str = "/etc/shadow"
    shells: str = "/etc/shells"
    nologin: tuple[str, ...] = ("/etc/nologin", "/run/nologin")
    selinux_enforce: str = "/sys/fs/selinux/enforce"
    audit_log: str = "/var/log/audit/audit.log"
    root: str = "/"
    sshd: Optional[str] = None
    sshd_config: str = "/etc/ssh/sshd_config"


THIS_HOST = Host()
