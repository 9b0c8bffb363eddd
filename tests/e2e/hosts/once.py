"""Steps: a push admits one login in races and crashes, and nobody else can change its marks."""

from __future__ import annotations

import contextlib
import random
import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.e2e.hosts.host import ALONE, Host
from tests.e2e.hosts.report import expect
from tests.e2e.hosts.restarts import killed

RACERS, ROUNDS = 8, 6
CONFIG, SERVICE = "/etc/sixtykey/config.yaml", "/etc/pam.d/sshd"
LINE = "account required pam_exec.so quiet /usr/lib/sixtykey/pam-account"
NO_PENALTIES = "/etc/ssh/sshd_config.d/00-no-penalties.conf"
HANDED = "/run/sixtykey/handed"
# Attempts as the helper's user and as an ordinary one: make a mark, remove one, ask like PAM.
FORGE = f"""\
set -u
touch {HANDED}/1-1 && echo made
rm -f {HANDED}/* && [ -z "$(ls {HANDED})" ] && echo removed
mv {HANDED} {HANDED}-away && echo moved
true
"""
ASK = """\
import push
print(push.exchange(push.LOOKUP, sys.argv[1].encode() + b"\\n", 5).decode().strip())
"""


@contextlib.contextmanager
def one_time_keys(host: Host) -> Iterator[None]:
    """Set up PAM's line, `uses: once`, and an sshd that does not block after refused logins."""
    machine = host.machine
    machine.shell(f"cp -a {CONFIG} {SERVICE} /root/")
    if LINE not in machine.run("cat", SERVICE).stdout:
        machine.shell(f"sed -i '1i {LINE}' {SERVICE}")
    # OpenSSH 9.8 blocks an address from which several logins were refused.
    machine.shell(
        "if sshd -T | grep -qi ^persourcepenalties; then "
        f"echo 'PerSourcePenalties no' > {NO_PENALTIES}; systemctl reload ssh; fi"
    )
    machine.write(CONFIG, "keys:\n  uses: once\n")
    machine.run("systemctl", "restart", "sixtykeyd.service")
    host.wait_active()
    try:
        yield
    finally:
        machine.shell(
            f"cp -a /root/sshd {SERVICE}; cp -a /root/config.yaml {CONFIG}; "
            f"rm -f {NO_PENALTIES}; systemctl reload ssh"
        )
        machine.run("systemctl", "restart", "sixtykeyd.service")
        host.wait_active()


def pushed(host: Host, key: Path) -> None:
    """Push the key for alice."""
    status, body = host.push("alice", key)
    expect(status == 200, f"{status} {body}")


def race(host: Host, key: Path) -> int:
    """The number of admitted logins of RACERS at the same time."""
    with ThreadPoolExecutor(RACERS) as pool:
        return sum(pool.map(lambda _: host.client.login("alice", key) == "alice", range(RACERS)))


def raced(host: Host) -> None:
    """Exactly one login is admitted in each race, and the service's log has a record of each."""
    with host.report.step(f"one push, {RACERS} racing logins: one is admitted, every time") as seen:
        since = host.machine.shell("date '+%Y-%m-%d %H:%M:%S'")
        admitted = []
        for number in range(ROUNDS):
            key = host.client.key(f"raced-{number}")
            pushed(host, key)
            admitted.append(race(host, key))
        expect(admitted == [1] * ROUNDS, f"{admitted}")
        records = host.machine.shell(f"journalctl -o cat -u sixtykeyd --since '{since}'")
        found = records.count('"event": "admission", "outcome": "admitted"')
        expect(found == ROUNDS, f"{found} admissions are recorded")
        seen.append(f"admitted: {admitted}; {found} records of it")
        seen.append(ordinary(host, since))


def ordinary(host: Host, since: str) -> str:
    """sshd logs the refused logins like any login that PAM refuses."""
    log = host.machine.run(
        "journalctl", "--no-pager", "-t", "sshd", "-t", "sshd-session", "--since", since
    ).stdout
    denied = "Access denied for user alice by PAM account configuration"
    odd = [
        line
        for line in log.splitlines()
        if re.search("error|fatal|AuthorizedKeysCommand", line) and denied not in line
    ]
    expect(not odd, "\n".join(odd))
    return f"sshd's log: nothing unusual in {len(log.splitlines())} lines"


def crashed(host: Host) -> None:
    """When the daemon is killed or restarted during a race, at most one login is admitted."""
    with host.report.step(
        f"the same while the daemon is killed (-9) or restarted, {ROUNDS} times: never two"
    ) as seen:
        chance, admitted, late = random.Random(2), [], []
        with ALONE:
            for number in range(ROUNDS):
                key = host.client.key(f"crashed-{number}")
                pushed(host, key)
                with ThreadPoolExecutor(1) as pool:
                    racing = pool.submit(race, host, key)
                    time.sleep(chance.uniform(0.0, 0.6))
                    if number % 3 < 2:
                        killed(host)
                    else:
                        host.machine.run("systemctl", "restart", "sixtykeyd.service")
                    admitted.append(racing.result())
                late.append(int(host.client.login("alice", key) == "alice"))
                again = host.client.login("alice", key)
                expect(again == "", f"used twice: {admitted}, {late}")
        together = [one + other for one, other in zip(admitted, late)]
        expect(max(together) <= 1, f"admitted {admitted}, later {late}")
        seen.append(f"admitted in the race: {admitted}; by a login after it: {late}")


def fingerprint(key: Path) -> str:
    """As sshd's %f has it."""
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", f"{key}.pub"], check=True, capture_output=True, text=True
    )
    return shown.stdout.split()[1]


def forged(host: Host) -> None:
    """Neither the helper's user nor another user can make or remove a mark, or use a key up."""
    with host.report.step(
        "the lookup user makes no mark, removes none, and uses no key up"
    ) as seen:
        key = host.client.key("forged")
        pushed(host, key)
        expect(host.client.login("alice", key) == "alice", "the first login")
        host.machine.run("touch", f"{HANDED}/probe")
        pushed(host, key)
        for user in ("sixtykey-lookup", "bob"):
            done = host.machine.run("sh", "-c", FORGE, user=user).stdout
            expect(done == "", f"{user}: {done}")
        done = host.python(ASK, "admit 127.0.0.1", user="sixtykey-lookup")
        expect("only root may ask" in done, done)
        done = host.python(ASK, f"alice {fingerprint(key)}", user="sixtykey-lookup")
        expect(done == "", f"a key was given to no sshd: {done}")
        # As root, but not from PAM: the process is no child of sshd.
        done = host.python(ASK, "admit 127.0.0.1")
        expect("yes" not in done, done)
        host.machine.run("rm", f"{HANDED}/probe")
        expect(host.client.login("alice", key) == "alice", "the key was used up")
        expect(host.client.login("alice", key) == "", "the second login was admitted")
        seen.append("permission denied to both; refused by the daemon: " + done)
