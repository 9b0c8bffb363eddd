"""Step: the AppArmor profile allows what the daemon does, and little more.

A kernel without AppArmor cannot enforce it: there the host's own parser compiles the profile, and
its rules are compared with the accesses of a real daemon.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from tests.e2e.hosts import trace
from tests.e2e.hosts.host import Host
from tests.e2e.hosts.report import expect

PROFILE = "/etc/apparmor.d/usr.sbin.sixtykeyd"
MARKS = "/run/sixtykey/handed/"
# The parser's own expansion of each rule, and its permissions: the bits of apparmor.h.
_RULE = re.compile(r"^rule: (\S+)  ->  .* \(0x([0-9a-f]+)/", re.MULTILINE)
# A stat needs what reading does.
_BITS = {"x": 1, "w": 2, "r": 4, "s": 4, "k": 0x20, "m": 0x40}
_OTHERS = 14
# Accesses that a compromised daemon would try.
FORBIDDEN = [
    ("/etc/shadow", "r"), ("/etc/sixtykey/credentials.yaml", "w"), ("/root/.ssh/id_ed25519", "r"),
    ("/home/alice/.ssh/authorized_keys", "w"), ("/etc/ssh/ssh_host_ed25519_key", "r"),
    ("/bin/sh", "x"), ("/usr/bin/dash", "x"), ("/usr/bin/python3", "x"), ("/tmp/x", "w"),
    ("/run/sixtykey/x", "w"), ("/usr/lib/sixtykey/agent/daemon.py", "w"), ("/dev/sda", "r"),
    ("/run/dbus/system_bus_socket", "w"),
]  # fmt: skip


class Rule(NamedTuple):
    """A compiled file rule: its paths, and its permissions for other users' files."""

    paths: re.Pattern[str]
    permissions: int


def profile(host: Host, uses: str) -> None:
    """Compile the profile, compare it, and check whether it is enforced. `uses`: of the host."""
    what = f"AppArmor: the profile compiles, and fits what the daemon does (uses: {uses})"
    with host.report.step(what) as seen:
        said = host.machine.run("apparmor_parser", "-Q", "-K", "-D", "rule-exprs", PROFILE)
        rules = [
            Rule(re.compile(paths), int(bits, 16) >> _OTHERS)
            for paths, bits in _RULE.findall(said.stdout + said.stderr)
        ]
        touched = trace.record(host, host.work.parent)
        marked = any(path.startswith(MARKS) and "w" in wanted for path, wanted in touched)
        expect(marked == (uses == "once"), f"a mark of a one-time key was written: {marked}")
        expect(len(rules) > 80 and len(touched) > 200, f"{len(rules)} rules, {len(touched)} paths")
        denied = [access for access in sorted(touched) if not allowed(rules, *access)]
        expect(denied == [], f"the profile would deny: {denied}")
        granted = [wish for wish in FORBIDDEN if allowed(rules, *wish)]
        expect(granted == [], f"the profile allows: {granted}")
        seen.append(
            f"{len(rules)} rules allow {len(touched)} accesses; {len(FORBIDDEN)} others stay denied"
        )
        seen.append(in_force(host))


def allowed(rules: Iterable[Rule], path: str, wanted: str) -> bool:
    """Whether the rules allow the access. The start itself is systemd's, not the profile's."""
    if (path, wanted) == (trace.PROGRAM, "x"):
        return True
    granted = 0
    for rule in rules:
        if rule.paths.fullmatch(path):
            granted |= rule.permissions
    return all(granted & _BITS[letter] for letter in wanted)


def in_force(host: Host) -> str:
    """The daemon is confined if the host's kernel can do so; else that is reported."""
    if host.machine.run("aa-enabled", "--quiet", check=False).returncode:
        return "no AppArmor in this kernel: not enforced here"
    label = host.machine.shell(f"cat /proc/{host.main_pid()}/attr/current")
    expect(label == "sixtykeyd (enforce)", f"the daemon is {label}")
    return f"the daemon is confined: {label}"
