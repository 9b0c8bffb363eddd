"""The daemon's file accesses over its life, recorded by strace(1) on the host's systemd.

A policy that no kernel here can enforce is compared with them: each file that a daemon in its real
sandbox opened, mapped for execution, locked, made or removed.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Optional

from tests.e2e.hosts.host import Host
from tests.e2e.hosts.report import expect

PROGRAM = "/usr/sbin/sixtykeyd"
_STATS = {"stat", "lstat", "newfstatat", "statx"}
_CALLS = "execve,open,openat,mmap,fcntl,mkdir,unlink,rename,fork,vfork,clone,clone3"
_CALLS += "".join(f",{name}" for name in sorted(_STATS))
_CALL = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)(?:<([^>]*)>)?(?: (E\w+))?")
_FILE = re.compile(r"\d+<(/[^>]*)>")


class Access(NamedTuple):
    """A path as the kernel resolved it (a folder's ends in /), and the requested access.

    `wanted`: letters as in AppArmor; r read, w write, m map to run, k lock, x run; and s for stat.
    """

    path: str
    wanted: str


def record(host: Host, work: Path) -> set[Access]:
    """Record a start, push, login, lookup, reload, journal maintenance and end."""
    log = work / f"trace-{host.report.host}"
    tracer = subprocess.Popen(
        ["strace", "-f", "-qq", "-y", "-s", "4096", "-e", f"trace={_CALLS}", "-e", "signal=none",
         "-p", str(host.machine.pid), "-o", str(log)],
        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        time.sleep(1)
        host.machine.run("systemctl", "restart", "sixtykeyd.service")
        host.wait_active()
        key = host.client.key("traced")
        status, body = host.push("alice", key)
        expect(status == 200, f"{body}")
        expect(host.client.login("alice", key) == "alice", "not logged in while it was traced")
        host.python("import push; push.lookup('alice')")
        host.machine.run("systemctl", "reload", "sixtykeyd.service")
        # LIMITS.tend_seconds, and a second.
        time.sleep(6)
        host.machine.run("systemctl", "restart", "sixtykeyd.service")
        host.wait_active()
    finally:
        tracer.terminate()
        tracer.wait(10)
    found = set(accesses(log.read_text(errors="replace").splitlines()))
    expect(any(access.wanted == "x" for access in found), "the daemon's start was not seen")
    return found


def accesses(lines: Iterable[str]) -> Iterator[Access]:
    """The successful accesses of the daemon's processes in a log of strace -f -y."""
    ours: set[str] = set()
    for process, call in _whole(lines):
        parts = _CALL.match(call)
        if parts is None:
            continue
        name, arguments, result, opened, error = parts.groups()
        if name == "execve" and arguments.startswith(f'"{PROGRAM}"') and result == "0":
            ours.add(process)
        if process not in ours or (error and error not in {"EACCES", "EPERM"}):
            continue
        if "fork" in name or "clone" in name:
            ours.add(result)
        access = _access(name, arguments, opened)
        if access is not None:
            yield access


def _whole(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Process and call, with interrupted lines of a call joined."""
    begun: dict[str, str] = {}
    for line in lines:
        process, _, call = line.partition(" ")
        call = call.strip()
        if call.endswith("<unfinished ...>"):
            begun[process] = call.removesuffix("<unfinished ...>").rstrip()
            continue
        resumed = re.match(r"<\.\.\. \w+ resumed>(.*)", call)
        yield process, begun.pop(process, "") + resumed[1] if resumed else call


def _access(name: str, arguments: str, opened: Optional[str]) -> Optional[Access]:
    quoted = re.search(r'"([^"]*)"', arguments)
    named = quoted[1] if quoted else ""
    file = _FILE.search(arguments)
    if name == "execve":
        return Access(named, "x")
    if name in {"open", "openat"}:
        return _opened(opened or named, arguments)
    if name == "mmap" and "PROT_EXEC" in arguments and file:
        return Access(file[1], "m")
    if name == "fcntl" and "F_SETLK" in arguments and file:
        return Access(file[1], "k")
    if name in {"unlink", "rename"}:
        return Access(named, "w")
    if name == "mkdir":
        return Access(f"{named}/", "w")
    if name in _STATS and named.startswith("/"):
        folder = "S_IFDIR" in arguments and not named.endswith("/")
        return Access(f"{named}/" if folder else named, "s")
    return None


def _opened(path: str, arguments: str) -> Optional[Access]:
    if not path.startswith("/"):
        return None
    if "O_DIRECTORY" in arguments:
        return Access(path.rstrip("/") + "/", "r")
    wanted = "rw" if "O_RDWR" in arguments else "w" if "O_WRONLY" in arguments else "r"
    return Access(path, wanted)
