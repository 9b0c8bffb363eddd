"""Boot the hosts, and test the packages there: python -m tests.e2e.hosts [NAME...].

The name `loaded` stands for the hosts that are restarted and killed under load, where each lookup
must be answered within its second: they need a machine to themselves. `others` stands for the rest.
"""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, NamedTuple

from agent import __version__
from tests.e2e.hosts import (
    apparmor,
    arm64,
    conflicts,
    ec2,
    faults,
    fleet,
    installing,
    journey,
    older,
    once,
    one_time,
    readme,
    removing,
    restarts,
    roots,
    rpm,
    slot,
    unit_tests,
    whole_fleet,
)
from tests.e2e.hosts.host import Host
from tests.e2e.hosts.machine import Machine
from tests.e2e.hosts.network import Client
from tests.e2e.hosts.report import Report

# The number of hosts that run at a time: most of their steps wait for something.
AT_ONCE = 2


def debian(host: Host) -> None:
    """A Debian host from the first installation to the purge."""
    installing.before(host)
    session = removing.Session(host)
    try:
        if "systemd-userdb" in host.sshd_before or "userdbctl" in host.sshd_before:
            conflicts.userdbd(host)
        restarts.upgrade(host)
        installing.service(host)
        installing.sandbox(host)
        installing.sockets(host)
        journey.local_push(host)
        journey.https_push(host)
        apparmor.profile(host, "unlimited")
        faults.check(host)
        journey.https_off(host)
        with once.one_time_keys(host):
            apparmor.profile(host, "once")
            once.raced(host)
            once.crashed(host)
            once.forged(host)
        installing.secrets(host)
        restarts.restart(host)
        restarts.crashes(host)
        restarts.broken_configuration(host)
        journey.stopped(host)
        conflicts.places(host)
        one_time.one_time(host)
        removing.remove(host, session)
        installing.fresh_install(host, host.current)
        journey.local_push(host)
        fleet.packages(host, "deb")
        unit_tests.run(host)
    finally:
        session.close()


class Kind(NamedTuple):
    """A release of Debian, and the steps on a host of it; `firewall` as in Machine.

    `loaded` says that steps restart the daemon under load, and wait for its answers.
    """

    release: str
    package: str
    steps: Callable[[Host], None]
    firewall: bool = False
    loaded: bool = False


HOSTS = {
    "bookworm": Kind("bookworm", "deb", debian, loaded=True),
    "trixie": Kind("trixie", "deb", debian, loaded=True),
    "rpm": Kind("bullseye", "rpm", rpm.rpm, loaded=True),
    # Three machines: a gateway, and two hosts of its fleet, of which one is Debian 13.
    "fleet": Kind("bookworm", "deb", whole_fleet.whole_fleet),
    "readme": Kind("bookworm", "deb", readme.readme),
    "ec2": Kind("bookworm", "deb", ec2.ec2, firewall=True),
    "ec2-rpm": Kind("bullseye", "rpm", ec2.ec2_rpm, firewall=True),
    "ubuntu": Kind("bookworm", "deb", slot.ubuntu),
}
EMULATED = {"arm64": arm64.try_packages}
_LOADED = [name for name, kind in HOSTS.items() if kind.loaded]
GROUPS = {
    "loaded": _LOADED,
    "others": [name for name in (*HOSTS, *EMULATED) if name not in _LOADED],
}
PATTERNS = {
    "deb": f"sixtykey_{{}}_{older.deb_architecture()}.deb",
    "rpm": f"sixtykey-{{}}-1.{platform.machine()}.rpm",
}


def build(work: Path, kind: str) -> tuple[Path, Path]:
    """Build an older version's package here, and use this version's, of `make packages`."""
    former = older.build(kind, work) / PATTERNS[kind].format(older.VERSION)
    return former, Path("dist") / PATTERNS[kind].format(__version__)


def try_host(number: int, name: str, packages: tuple[Path, Path], work: Path) -> Report:
    """Boot one host and run all of its steps; show its logs if one fails."""
    kind, report, begin = HOSTS[name], Report(name), time.monotonic()
    former, current = packages
    root = roots.unpack(kind.release, work / name)
    for package in packages:
        shutil.copy(package, root / "root")
    if kind.package == "rpm":
        rpm.into_root(root, current.name)
    with Machine(name, root, kind.firewall) as machine:
        keys = work / f"{name}-client"
        keys.mkdir()
        with Client(machine, number, keys) as client:
            host = Host(machine, client, report, keys, former.name, current.name)
            try:
                kind.steps(host)
            except Exception:  # noqa: BLE001 - shown, with the host's logs; the other hosts go on
                traceback.print_exc()
                print(f"[{name}] its logs:\n{machine.logs()}")
                report.failed = report.failed or ["outside of a step"]
    print(f"[{name}] {report.passed} steps in {time.monotonic() - begin:.0f} s")
    shutil.rmtree(root)
    return report


def main() -> int:
    """Run every host, or the named ones. Exit code 1 when a step failed."""
    asked = sys.argv[1:] or GROUPS
    names = [name for word in asked for name in GROUPS.get(word, [word])]
    with tempfile.TemporaryDirectory(prefix="sixtykey-e2e-") as directory:
        work = Path(directory)
        work.chmod(0o755)
        booted = [name for name in names if name in HOSTS]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            # Beside the archives, which wait for the mirror and the disk.
            archives = pool.map(roots.archive, sorted({HOSTS[name].release for name in booted}))
            kinds = {HOSTS[name].package for name in booted}
            packages = {kind: build(work, kind) for kind in kinds}
            list(archives)
            trying = [
                pool.submit(try_host, number, name, packages[HOSTS[name].package], work)
                for number, name in enumerate(booted, 1)
            ]
            trying += [pool.submit(EMULATED[name], work) for name in names if name in EMULATED]
        reports = [host.result() for host in trying]
    for report in reports:
        for step in report.failed:
            print(f"FAILED on {report.host}: {step}")
    passed, failed = sum(r.passed for r in reports), sum(len(r.failed) for r in reports)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
