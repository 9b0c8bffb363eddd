"""Steps: restart, SIGKILL and upgrade under load lose no acknowledged key and no lookup."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.e2e.hosts import installing
from tests.e2e.hosts.host import ALONE, SCRIPTS, Host
from tests.e2e.hosts.report import expect


@contextmanager
def load(host: Host, account: dict[str, Any]) -> Iterator[None]:
    """Push and look up on the host during the body; then `account` has the result."""
    with ALONE:
        yield from _load(host, account)


def _load(host: Host, account: dict[str, Any]) -> Iterator[None]:
    instance, zone, _ = host.identity()
    running = host.machine.start("python3", f"{SCRIPTS}/load.py", instance, zone)
    assert running.stdout is not None
    try:
        expect(running.stdout.readline() == "loading\n", "no load")
        time.sleep(1)
        yield
        time.sleep(1)
        said, _ = running.communicate(timeout=60)
        account.update(json.loads(said))
    finally:
        running.kill()
        running.communicate()


def judge(account: dict[str, Any], seen: list[str]) -> None:
    """Fail unless every acknowledged key was given and every lookup answered."""
    seen.append(
        f"{account['acknowledged']} pushes acknowledged, {account['unanswered']} unanswered, "
        f"{account['asked']} lookups, slowest {account['slowest']} s, wrong {len(account['wrong'])}"
    )
    expect(account["wrong"] == [], "\n".join(account["wrong"]))
    expect(account["acknowledged"] > 20 and account["asked"] > 100, f"too little load: {account}")


def restart(host: Host) -> None:
    """Restarts by systemctl and SIGKILL under load lose no acknowledged key and no lookup."""
    with host.report.step("systemctl restart under load, 5 times") as seen:
        account: dict[str, Any] = {}
        with load(host, account):
            for _ in range(5):
                host.machine.run("systemctl", "restart", "sixtykeyd.service")
                time.sleep(0.3)
        judge(account, seen)
    with host.report.step("kill -9 under load, 5 times") as seen:
        account = {}
        with load(host, account):
            for _ in range(5):
                killed(host)
        judge(account, seen)


def upgrade(host: Host) -> None:
    """Install an older build of the package, and upgrade it to this one under load."""
    with host.report.step("upgrade of the package under load, configuration kept") as seen:
        said = installing.install(host, host.older)
        expect("sshd asks it for keys" in said, said)
        host.wait_active()
        host.machine.run("test", "-s", "/run/sixtykey/leases.db")
        own = "# mine\nkeys:\n  per_user: 100\n"
        host.machine.write("/etc/sixtykey/config.yaml", own)
        before = host.main_pid()
        account: dict[str, Any] = {}
        with load(host, account):
            said = installing.install(host, host.current)
        host.wait_active()
        expect(host.main_pid() != before, "the daemon is still the older one")
        kept = host.machine.run("cat", "/etc/sixtykey/config.yaml").stdout
        expect(kept == own, f"the configuration has changed: {kept}")
        seen.append(host.machine.shell("dpkg-query -W sixtykey"))
        judge(account, seen)
        journal_moved(host, seen)


def journal_moved(host: Host, seen: list[str]) -> None:
    """The journal moves from beside the sockets, where 0.1.0 had it, to a separate folder."""
    found = host.machine.shell("find /run/sixtykey -printf '%u %p\\n'").splitlines()
    expect("root /run/sixtykey" in found, f"{found}")
    expect("sixtykey /run/sixtykey/journal/leases.db" in found, f"{found}")
    left = [line for line in found if "/run/sixtykey/leases.db" in line]
    expect(not left, f"left beside the sockets: {left}")
    seen.append("the journal has moved into a folder of its own")


LIBRARY = "/usr/lib/sixtykey/agent/daemon.py"


def crashes(host: Host) -> None:
    """A daemon that fails at every start is retried more slowly; one that has served, at once."""
    with host.report.step(
        "a daemon that crashes at each start backs off, and is back by itself once mended"
    ) as seen:
        host.machine.shell(f"cp -a {LIBRARY} /root/; echo 'raise ImportError' > {LIBRARY}")
        before = restarts_of(host)
        host.machine.run("kill", "-9", str(host.main_pid()))
        time.sleep(6)
        tried = restarts_of(host) - before
        # Without growing pauses there would be about twenty restarts.
        expect(2 <= tried <= 9, f"started {tried} times in 6 s")
        host.machine.shell(f"mv /root/daemon.py {LIBRARY}")
        host.wait_active()
        log = host.machine.run("journalctl", "--no-pager", "-n", "40", "-u", "sixtykeyd").stdout
        expect("starts have failed" in log, log)
        seen.append(f"{tried} starts in 6 s; mended, it came back")
    with host.report.step("killed while it serves, it is back at once, every time") as seen:
        since = host.machine.shell("date '+%Y-%m-%d %H:%M:%S'; sleep 1").strip()
        for _ in range(3):
            killed(host)
        log = host.machine.run(
            "journalctl", "--no-pager", "-u", "sixtykeyd", "--since", since
        ).stdout
        expect(log.count("serving i-") >= 3, log)
        expect("starts have failed" not in log, log)
        shown = host.machine.shell(
            "for what in Exit Enter; do "
            "systemctl show -p Active${what}TimestampMonotonic --value sixtykeyd; done"
        )
        ended, serving = (int(microseconds) for microseconds in shown.split())
        expect(serving > ended > 0, shown)
        seen.append(f"serving again {(serving - ended) / 1000:.0f} ms after the end of the last")


def killed(host: Host) -> None:
    """Kill a serving daemon, and wait until the next one serves."""
    before = host.main_pid()
    host.machine.run("kill", "-9", str(before))
    end = time.monotonic() + 20
    while host.main_pid() in {0, before} or host.active() != "active":
        expect(time.monotonic() < end, f"not back: {host.active()}")
        time.sleep(0.1)


def restarts_of(host: Host) -> int:
    """The number of restarts of the service by systemd."""
    shown = host.machine.run("systemctl", "show", "-p", "NRestarts", "--value", "sixtykeyd")
    return int(shown.stdout)


def broken_configuration(host: Host) -> None:
    """A broken configuration is reported and not retried for ever.

    Once it is fixed, one restart brings everything back.
    """
    with host.report.step(
        "a wrong configuration: said, not tried for ever, mended by restart"
    ) as seen:
        own = host.machine.run("cat", "/etc/sixtykey/config.yaml").stdout
        host.machine.write("/etc/sixtykey/config.yaml", "keys: {lifetime: 61, typos: []}\n")
        host.machine.run("systemctl", "restart", "sixtykeyd.service", check=False)
        expect(host.active() == "failed", f"the service is {host.active()}")
        log = host.machine.run("journalctl", "--no-pager", "-n", "20", "-u", "sixtykeyd").stdout
        expect("keys.lifetime" in log and "keys.typos" in log, log)
        host.machine.write("/etc/sixtykey/config.yaml", own)
        host.machine.run("systemctl", "restart", "sixtykeyd.service")
        host.wait_active()
        host.python("import push; push.lookup('alice')")
        seen.append("both problems in the log, state failed; after mending, one restart")
