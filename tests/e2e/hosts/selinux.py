"""Step: the rpm's SELinux module is compiled into a complete policy, which is then queried.

No host here runs SELinux. The step tests that a real policy accepts the module, allows with it what
systemd, sshd and the daemon do, and gives no other domain more rights. The policy is Debian's
reference policy, with stand-ins for the additions of Fedora and Enterprise Linux.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.e2e.hosts import trace
from tests.e2e.hosts.host import Host
from tests.e2e.hosts.report import expect
from tests.e2e.hosts.selinux_policy import Policy, Store, run
from tests.e2e.hosts.trace import Access

INSTALLED = "usr/share/selinux/packages/targeted/sixtykey.pp.bz2"
NEWER = """\
module newer 1.0;
require { attribute domain; attribute file_type; }
type sshd_session_t;
type machineid_t;
type passwd_file_t;
type unconfined_service_t;
typeattribute sshd_session_t domain;
typeattribute unconfined_service_t domain;
typeattribute machineid_t file_type;
typeattribute passwd_file_t file_type;
"""
# All rights that sshd's domains get from the module: target, class, permissions.
SSHD = {
    ("sixtykey_helper_exec_t", "file"):
        {"getattr", "open", "read", "execute", "execute_no_trans", "map", "ioctl", "lock"},
    ("sixtykey_runtime_t", "dir"): {"getattr", "search"},
    ("sixtykey_lookup_socket_t", "sock_file"): {"getattr", "write"},
    ("sixtykeyd_t", "unix_stream_socket"): {"connectto"},
    ("sixtykey_handed_t", "dir"): {"getattr", "search", "open", "read"},
    ("sixtykey_handed_t", "file"): {"getattr"},
}  # fmt: skip
# What systemd does for the daemon: runs it without new privileges, and makes its sockets, which
# carry the daemon's own label, since that is where ExecStart= leads to.
SYSTEMD = {
    ("sixtykeyd_t", "process"): {"transition", "signal", "sigkill"},
    ("sixtykeyd_t", "process2"): {"nnp_transition", "nosuid_transition"},
    ("sixtykeyd_t", "unix_stream_socket"): {"create", "bind", "listen"},
    ("sixtykeyd_t", "tcp_socket"): {"create", "bind", "listen"},
    ("sixtykey_lookup_socket_t", "sock_file"): {"create", "unlink"},
    ("sixtykey_runtime_t", "sock_file"): {"create", "unlink"},
    ("init_t", "process"): {"setsockcreate"},
}
# What the daemon does with the sockets that it is handed.
DAEMON = {
    ("sixtykeyd_exec_t", "file"): {"entrypoint"},
    ("sixtykeyd_t", "unix_stream_socket"): {"accept", "read", "write", "shutdown", "getopt"},
    ("sixtykeyd_t", "tcp_socket"): {"accept", "read", "write", "shutdown", "setopt"},
    ("sixtykeyd_t", "unix_dgram_socket"): {"create", "write"},
    ("init_t", "unix_dgram_socket"): {"sendto"},
    ("init_t", "unix_stream_socket"): {"read", "write"},
    ("sixtykey_conf_t", "file"): {"read"},
    ("cert_t", "file"): {"read"},
    ("machineid_t", "file"): {"read"},
    ("sixtykey_handed_t", "file"): {"create", "write", "rename", "unlink"},
    ("sixtykey_helper_exec_t", "file"): {"getattr"},
    ("sshd_t", "file"): {"open", "read"},
    ("sshd_session_t", "file"): {"open", "read"},
}
# Where files lie on hosts whose policy takes /run for /var/run, and on those that do not.
LABELS = {
    "/usr/sbin/sixtykeyd": "sixtykeyd_exec_t",
    "/usr/lib/sixtykey/authorized-keys": "sixtykey_helper_exec_t",
    "/usr/lib/sixtykey/pam-account": "sixtykey_helper_exec_t",
    "/etc/sixtykey/credentials.yaml": "sixtykey_conf_t",
    "/etc/sixtykey/tls/private_key.pem": "sixtykey_conf_t",
    "/run/sixtykey": "sixtykey_runtime_t",
    "/run/sixtykey/lookup.sock": "sixtykey_lookup_socket_t",
    "/run/sixtykey/push.sock": "sixtykey_runtime_t",
    "/run/sixtykey/journal/leases.db": "sixtykeyd_journal_t",
    "/run/sixtykey/handed/4711-815": "sixtykey_handed_t",
    "/run/sixtykeyd/starts": "sixtykeyd_journal_t",
}
# A compromised daemon gets no other program, capability or connection, and no other secret.
FORBIDDEN = [
    ("bin_t", "file", "execute_no_trans"), ("shell_exec_t", "file", "execute"),
    ("shadow_t", "file", "read"), ("sshd_key_t", "file", "read"), ("user_home_t", "file", "read"),
    ("sixtykey_conf_t", "file", "write"), ("sixtykey_runtime_t", "dir", "add_name"),
    ("sixtykey_runtime_t", "sock_file", "unlink"), ("lib_t", "file", "write"),
    ("sshd_t", "file", "write"), ("sixtykey_helper_exec_t", "file", "execute_no_trans"),
    ("etc_t", "file", "write"), ("sixtykeyd_t", "process", "execmem"),
    ("sixtykeyd_t", "process", "setcurrent"), ("sixtykeyd_t", "capability", "dac_override"),
    ("sixtykeyd_t", "tcp_socket", "connect"), ("init_t", "unix_stream_socket", "connectto"),
    ("sshd_t", "unix_stream_socket", "connectto"), ("sshd_t", "process", "ptrace"),
]  # fmt: skip


def module(host: Host) -> None:
    """Install the module into a separate policy, and query it."""
    with host.report.step(
        "SELinux: a real policy takes the module, and allows what is done"
    ) as seen:
        work = host.work.parent / "selinux"
        work.mkdir()
        store = Store(work)
        (work / "newer.te").write_text(NEWER)
        run(work, "checkmodule", "-M", "-m", "-c", "19", "-o", "newer.mod", "newer.te")
        run(work, "semodule_package", "-m", "newer.mod", "-o", "newer.pp")
        store.install(*store.distribution(), work / "newer.pp")
        before = store.policy("before")
        shutil.copy(host.machine.root / INSTALLED, work)
        store.install(work / Path(INSTALLED).name)
        after = store.policy("after")
        sshd(before, after)
        daemon(after)
        labels(store)
        touched = trace.record(host, work)
        expect(
            any("/handed/" in access.path for access in touched), "no one-time key was handed out"
        )
        files(store, after, touched)
        seen.append(
            f"sshd_t and sshd_session_t get {len(SSHD)} rules and may connect to sixtykeyd_t only; "
            f"{len(touched)} accesses of the daemon allowed, {len(FORBIDDEN)} others denied"
        )


def sshd(before: Policy, after: Policy) -> None:
    """sshd's domains get exactly the listed rights, and none to the journal."""
    for domain in ("sshd_t", "sshd_session_t"):
        old, new = before.rules(domain), after.rules(domain)
        gained = {target: new[target] - old.get(target, set()) for target in new}
        # Of every process sshd may see and end what is in /proc; and it has sockets of its own.
        gained = {
            (target, kind): permissions
            for (target, kind), permissions in gained.items()
            if permissions and target != domain
            if target != "sixtykeyd_t" or kind == "unix_stream_socket"
        }
        expect(gained == SSHD, f"{domain} gains {gained}")
        own = new[(domain, "unix_stream_socket")]
        expect({"create", "connect"} <= own, f"{domain} has no socket to ask with: {own}")


def daemon(policy: Policy) -> None:
    """systemd starts the daemon in its domain and makes its sockets; it can do its work only."""
    transition = policy.search("-T", "-s", "init_t", "-t", "sixtykeyd_exec_t", "-c", "process")
    expect("sixtykeyd_t" in transition, f"systemd starts it in no domain of its own: {transition}")
    for source, needed in (("init_t", SYSTEMD), ("sixtykeyd_t", DAEMON)):
        rules = policy.rules(source)
        for target, permissions in needed.items():
            missing = permissions - rules.get(target, set())
            expect(not missing, f"{source} may not {missing} {target}")
    mine = policy.rules("sixtykeyd_t")
    for label, kind, permission in FORBIDDEN:
        expect(permission not in mine.get((label, kind), set()), f"{permission} {label}:{kind}")


def labels(store: Store) -> None:
    """Each file gets its type, also where the policy has /run under its older name."""
    for alias in ("", "/run /var/run\n"):
        found = {path: store.label(path, alias) for path in LABELS}
        expect(found == LABELS, f"with {alias!r}: {found}")


def files(store: Store, policy: Policy, touched: set[Access]) -> None:
    """The policy allows every file access of a real daemon."""
    rules = policy.rules("sixtykeyd_t")
    wishes = {
        "r": {"read", "open"}, "s": {"getattr"}, "w": {"write"},
        "m": {"execute", "map"}, "k": {"lock"},
    }  # fmt: skip
    denied = set()
    for path, wanted in touched - {Access(trace.PROGRAM, "x")}:
        kind = "dir" if path.endswith("/") else "file"
        label = _kernels(path) or store.label(path.rstrip("/"))
        device = "chr_file" if path.startswith("/dev/") else kind
        granted = rules.get((label, device), set())
        needed = set().union(*(wishes[letter] for letter in wanted))
        if not needed <= granted:
            denied.add((path, label, *sorted(needed - granted)))
    expect(not denied, f"the module would deny: {sorted(denied)}")


def _kernels(path: str) -> str:
    """The types of files that the kernel itself labels (genfscon)."""
    named = {
        r"/proc/sys/kernel/.*": "sysctl_kernel_t",
        r"/proc/sys/vm/overcommit_memory": "sysctl_vm_overcommit_t",
        r"/proc/(self|\d+)/.*": "sixtykeyd_t",
        r"/sys/.*": "sysfs_t",
    }
    return next((label for pattern, label in named.items() if re.fullmatch(pattern, path)), "")
