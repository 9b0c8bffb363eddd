"""Checks the host's clock, and SELinux."""

from __future__ import annotations

import ctypes
import os
import re
import time
from typing import Any, Optional

from agent.commands.checks.finding import Finding, Host, fault, note, unknown
from agent.config.limits import LIMITS

# The kernel's clock is not synchronised (adjtimex(2)).
_TIME_ERROR = 5
# How many bytes of the audit log are read, and how old a denial may be (s).
_TAIL, _RECENT = 1 << 20, 24 * 60 * 60
_DENIED = re.compile(r"avc:  denied .*")
_OURS = re.compile(r"sixtykey|authorized-keys|authorized_keys")
_STAMP = re.compile(r"audit\((\d+)\.")


def clock(status: Optional[dict[str, Any]]) -> list[Finding]:
    """Check the wall clock, which dates signatures; keys' lifetimes use the boot clock."""
    found = []
    stepped = 0.0 if status is None else float(status["ClockStepped"])
    if abs(stepped) > LIMITS.clock_skew_seconds:
        found.append(
            fault(
                "clock-stepped",
                f"the wall clock was set by {stepped:+.0f} s since the daemon's start: signed "
                "requests of before or after are RequestExpired (keys live on as they were)",
                "find out who sets it (journalctl -u systemd-timesyncd -u chronyd), then keep it "
                "by NTP alone",
            )
        )
    if _unsynchronised():
        found.append(
            note(
                "clock-unsynchronised",
                "this host's clock is not synchronized: if it is 15 minutes off, signed "
                "pushes are refused",
                "timedatectl set-ntp true, or install chrony",
            )
        )
    return found


def _unsynchronised() -> bool:
    """Whether the kernel's clock is unsynchronised; read only (adjtimex(2), modes 0)."""
    try:
        # struct timex is 208 bytes at most; its first field, modes, is 0.
        return int(ctypes.CDLL(None, use_errno=True).adjtimex(bytes(512))) == _TIME_ERROR
    except (OSError, AttributeError):
        return False


def selinux(host: Host) -> list[Finding]:
    """Check in enforcing mode whether SELinux denied us anything recently."""
    try:
        with open(host.selinux_enforce, encoding="ascii") as file:
            enforcing = file.read(1) == "1"
    except OSError:
        return []
    if not enforcing:
        return []
    try:
        with open(host.audit_log, "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - _TAIL))
            lines = log.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        what = f"SELinux is enforcing, but {host.audit_log} cannot be read: {error.strerror}"
        return [unknown("selinux-denials", what)]
    denied = [line for line in lines if _DENIED.search(line) and _OURS.search(line)]
    recent = [line for line in denied if _age(line) < _RECENT]
    if not recent:
        return []
    last = _cut(recent[-1])
    what = (
        f"SELinux is enforcing, and has denied sixtykey {len(recent)} times in a day; the "
        f"last one: {last}"
    )
    remedy = "load the policy module of the package (semodule -l | grep sixtykey)"
    return [fault("selinux-denials", what, remedy)]


def _age(line: str) -> float:
    stamp = _STAMP.search(line)
    return 0.0 if stamp is None else time.time() - float(stamp[1])


def _cut(line: str) -> str:
    found = _DENIED.search(line)
    return line[:200] if found is None else found[0][:200]
