"""Boot the hosts, try every promise of the packages there: python -m tests.e2e.hosts [NAME...]."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Callable

from tests.e2e.hosts import conflicts, installing, journey, removing, restarts, roots
from tests.e2e.hosts.host import Host
from tests.e2e.hosts.machine import Machine
from tests.e2e.hosts.network import Client
from tests.e2e.hosts.report import Report

OLDER = "0.0.1"


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
        journey.local_push(host)
        journey.https_push(host)
        installing.secrets(host)
        restarts.restart(host)
        restarts.broken_configuration(host)
        journey.stopped(host)
        conflicts.places(host)
        removing.remove(host, session)
        installing.fresh_install(host, host.current)
        journey.local_push(host)
    finally:
        session.close()


HOSTS: dict[str, tuple[str, Callable[[Host], None]]] = {
    "bookworm": ("bookworm", debian),
    "trixie": ("trixie", debian),
}


def build(work: Path) -> tuple[Path, Path]:
    """This version's deb, and an older one's."""
    subprocess.run(["packaging/build-deb", OLDER], check=True, stdout=subprocess.DEVNULL)
    older = work / f"sixtykey_{OLDER}_all.deb"
    shutil.move(f"dist/{older.name}", older)
    current = next(Path("dist").glob("sixtykey_*_all.deb"))
    return older, current


def try_host(number: int, name: str, packages: tuple[Path, Path], work: Path) -> Report:
    """Boot one host, run all of its steps, show its logs if one fails."""
    release, steps = HOSTS[name]
    report = Report(name)
    begin = time.monotonic()
    root = roots.unpack(release, work / name)
    for package in packages:
        shutil.copy(package, root / "root")
    with Machine(name, root) as machine:
        keys = work / f"{name}-client"
        keys.mkdir()
        with Client(machine, number, keys) as client:
            older, current = (package.name for package in packages)
            host = Host(machine, client, report, keys, older, current)
            try:
                steps(host)
            except Exception:  # noqa: BLE001 - shown, with the host's logs; the other hosts go on
                traceback.print_exc()
                print(f"[{name}] its logs:\n{machine.logs()}")
                report.failed = report.failed or ["outside of a step"]
    print(f"[{name}] {report.passed} steps in {time.monotonic() - begin:.0f} s")
    shutil.rmtree(root)
    return report


def main() -> int:
    """Every host, or those that are named. Exit code 1 when a step failed."""
    names = sys.argv[1:] or list(HOSTS)
    with tempfile.TemporaryDirectory(prefix="sixtykey-e2e-") as directory:
        work = Path(directory)
        work.chmod(0o755)
        packages = build(work)
        reports = [try_host(n, name, packages, work) for n, name in enumerate(names, 1)]
    for report in reports:
        for step in report.failed:
            print(f"FAILED on {report.host}: {step}")
    passed, failed = sum(r.passed for r in reports), sum(len(r.failed) for r in reports)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
