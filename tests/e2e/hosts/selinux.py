"""Step: the SELinux module that the rpm installs, linked into a whole policy, and asked.

No host here runs SELinux: what is tried is that a real policy takes the module, and allows with it
what sshd needs. The policy is Debian's reference policy; the domain that newer policies have for
sshd-session is added as a stand-in.
"""

from __future__ import annotations

import bz2
import subprocess
from pathlib import Path

from tests.e2e.hosts.host import Host
from tests.e2e.hosts.report import expect

INSTALLED = "usr/share/selinux/packages/targeted/sixtykey.pp.bz2"
NEWER = """\
module newer 1.0;
require { attribute domain; }
type sshd_session_t;
type unconfined_service_t;
typeattribute sshd_session_t domain;
typeattribute unconfined_service_t domain;
"""
# Target, class, permission: for each of sshd's domains.
NEEDED = [
    ("sixtykey_helper_exec_t", "file", "execute_no_trans"),
    ("sixtykey_runtime_t", "dir", "search"),
    ("sixtykey_lookup_socket_t", "sock_file", "write"),
    ("init_t", "unix_stream_socket", "connectto"),
    ("unconfined_service_t", "unix_stream_socket", "connectto"),
]
# And what none of them gets: the journal of live keys is of that type.
FORBIDDEN = ("sixtykey_runtime_t", "file", "read")


def module(host: Host) -> None:
    """Link, expand, ask."""
    with host.report.step("SELinux: a real policy takes the module, and allows the lookup") as seen:
        work = host.work.parent / "selinux"
        work.mkdir()
        (work / "sixtykey.pp").write_bytes(
            bz2.decompress((host.machine.root / INSTALLED).read_bytes())
        )
        policy = link(work)
        for domain in ("sshd_t", "sshd_session_t"):
            for rule in NEEDED:
                expect(allowed(policy, domain, *rule) != "", f"{domain} may not: {rule}")
            granted = allowed(policy, domain, *FORBIDDEN)
            expect(granted == "", f"too much: {granted}")
        seen.append(f"{len(NEEDED)} rules for each of sshd_t and sshd_session_t; no journal")


def link(work: Path) -> Path:
    """Debian's policy with our module in it, as the kernel would load it."""
    run(work, "apt-get", "download", "-qq", "selinux-policy-default")
    package = next(work.glob("selinux-policy-default*.deb"))
    run(work, "dpkg-deb", "-x", package.name, "policy")
    for name in ("base", "ssh"):
        packed = work / f"policy/usr/share/selinux/default/{name}.pp.bz2"
        (work / f"{name}.pp").write_bytes(bz2.decompress(packed.read_bytes()))
    (work / "newer.te").write_text(NEWER)
    run(work, "checkmodule", "-M", "-m", "-c", "19", "-o", "newer.mod", "newer.te")
    run(work, "semodule_package", "-m", "newer.mod", "-o", "newer.pp")
    modules = ("base.pp", "ssh.pp", "newer.pp", "sixtykey.pp")
    run(work, "semodule_link", "-o", "linked.pp", *modules)
    run(work, "semodule_expand", "linked.pp", "policy.bin")
    return work / "policy.bin"


def allowed(policy: Path, source: str, target: str, kind: str, permission: str) -> str:
    """The rules of a policy that allow it."""
    found = run(
        policy.parent, "sesearch", "--allow", "-s", source, "-t", target, "-c", kind,
        "-p", permission, policy.name,
    )  # fmt: skip
    return found.strip()


def run(work: Path, *command: str) -> str:
    """Run a tool of this machine in a directory; what it prints."""
    path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(command, cwd=work, env=path, capture_output=True, text=True, check=False)
    expect(done.returncode == 0, f"{command}: {done.stdout}{done.stderr}")
    return done.stdout
