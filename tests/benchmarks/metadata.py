"""Keys from EC2's metadata, compared with a shell helper that asks the same service itself."""

from __future__ import annotations

import http.client
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Callable, Optional
from urllib.parse import urlsplit

from agent.lookup.server import END_MARK
from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.pairs import Pairs, Spread
from tests.benchmarks.serving import PLAIN, daemon
from tests.parts.daemon import RunningDaemon
from tests.parts.ec2_process import RunningEc2, ec2_settings, lookup
from tests.parts.ec2_signer import Ec2Signer
from tests.parts.host import login_user, work_directory
from tests.parts.keys import KeyPair, make_key
from tests.parts.leases import ed25519_line
from tests.parts.metadata import MetadataFolder, MetadataProcess, install_metadata_helper
from tests.parts.sshd import RunningSshd, install_compiled

ANSWER_SECONDS = 0.001
"""How long the metadata service takes for each answer, besides what it has to do."""
HOST_KEYS, LOGINS = 6, 6
LOOKUPS, FIRST, SHELL = 200, 10, 20


class Site:
    """A host's metadata, and a daemon that is configured for it."""

    def __init__(
        self, data: MetadataFolder, url: str, signer: Ec2Signer, served: RunningDaemon
    ) -> None:
        self.data = data
        self.url = url
        self.signer = signer
        self.daemon = served

    def install_shell(self, folder: Path) -> Path:
        """Install the helper that asks the metadata itself."""
        return install_metadata_helper(folder, self.url, self.signer.pem("root"))

    def push(self, os_user: str, key: str) -> None:
        """Push as EC2's own API does: one block, which is valid for a minute from now."""
        self.data.set_keys(os_user, self.signer.block(key))


@contextmanager
def site() -> Iterator[Site]:
    """A metadata service that answers in a millisecond, without any pushed key."""
    with work_directory() as folder:
        signer, data = Ec2Signer(folder / "signer"), MetadataFolder(folder / "metadata")
        data.set_signer(signer)
        data.behave(delay=ANSWER_SECONDS)
        with MetadataProcess(data.folder) as service:
            settings = ec2_settings(folder, service.url, signer)
            with daemon(**settings) as served:
                yield Site(data, service.url, signer, served)


def login(sshd: RunningSshd, user: str, key: KeyPair) -> float:
    """The milliseconds of a login. Raises RuntimeError when it is refused."""
    start = time.perf_counter()
    done = sshd.login(user, key)
    if not done.accepted:
        raise RuntimeError(f"login: {done.message}\n{sshd.log()}")
    return (time.perf_counter() - start) * 1000


def logins(at: Site, folder: Path, user: str) -> dict[str, list[float]]:
    """Milliseconds of logins with a pushed key, with a key in a file, and by the shell helper.

    The first two use the same sshd; the shell helper has a separate sshd and a newly pushed key.
    sshd rounds each step up to a delay that depends on its host key (OpenSSH, auth2.c), so the
    caller repeats this.
    """
    filed = make_key(folder, "filed")
    (folder / "authorized_keys").write_text(filed.line + "\n")
    settings = [f"AuthorizedKeysFile {folder / 'authorized_keys'}", "StrictModes no"]
    start = partial(RunningSshd, settings=settings)
    path = at.daemon.lookup_socket
    (folder / "ours").mkdir(mode=0o755)
    (folder / "shell").mkdir(mode=0o755)
    taken: dict[str, list[float]] = {"ours": [], "filed": [], "shell": []}
    with (
        start(folder / "ours", path, install=install_compiled) as ours,
        start(folder / "shell", path, install=at.install_shell) as shell,
    ):
        for number in range(-1, LOGINS):
            found = {"filed": login(ours, user, filed)}
            for name, sshd in (("ours", ours), ("shell", shell)):
                key = make_key(folder, f"{name}-{number}")
                at.push(user, key.line)
                found[name] = login(sshd, user, key)
            for name, value in found.items():
                if number >= 0:
                    taken[name].append(value)
    return taken


@figure
def metadata_login_vs_authorized_keys_file() -> Figure:
    """Each login uses a new push; the signer is known after the first."""
    taken: dict[str, list[float]] = {"ours": [], "filed": [], "shell": []}
    with (
        work_directory() as folder,
        site() as at,
        RunningEc2(at.daemon, environment=PLAIN),
        login_user() as user,
    ):
        for number in range(HOST_KEYS):
            place = folder / str(number)
            place.mkdir(mode=0o755)
            for name, values in logins(at, place, user).items():
                taken[name] += values
    pairs = Pairs.of(
        [each / 1000 for each in taken["ours"]], [each / 1000 for each in taken["filed"]]
    )
    shell, filed = Spread.of(taken["shell"]), statistics.median(taken["filed"])
    above = statistics.median(taken["ours"]) - filed
    # A floor of zero is replaced by a tenth of a millisecond.
    times = (shell.median - filed) / max(above, 0.1)
    detail = {
        **pairs.detail(),
        "words": f"{above:.2f} ms above it, the shell helper {shell.median - filed:.0f} ms: "
        f"{times:.0f} times more; {len(taken['ours'])} pairs",
        "shell_ms": vars(shell),
        "above_ms": round(above, 3),
        "shell_above_ms": round(shell.median - filed, 3),
        "times_less": round(times, 1),
        "host_keys": HOST_KEYS,
    }
    return Figure(
        "metadata_login_vs_authorized_keys_file", pairs.ratio, "ratio", "AuthorizedKeysFile", detail
    )


def timed(work: Callable[[], object]) -> float:
    """The milliseconds that it takes."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def ask(at: Site, os_user: str, key: Optional[str] = None) -> None:
    """A lookup on the daemon's socket; raises RuntimeError unless it gives this key, or none."""
    answer = lookup(at.daemon, f"{os_user}\n")
    if not (answer == END_MARK if key is None else answer.startswith(key.encode())):
        raise RuntimeError(f"the lookup for {os_user} was answered {answer!r}")


def run_shell(helper: Path, os_user: str, key: Optional[str] = None) -> None:
    """Run the shell helper for an existing user; raises RuntimeError unless it prints this."""
    done = subprocess.run(
        [str(helper), "--socket", "x", os_user], capture_output=True, text=True, check=False
    )
    if done.stdout.strip() != (key or ""):
        raise RuntimeError(f"the shell helper: {done.returncode}, {done.stdout}{done.stderr}")


def cached(at: Site, number: int) -> float:
    """Milliseconds of a lookup that finds a new push, with a known signer."""
    user, key = f"user{number}", ed25519_line(number)
    at.push(user, key)
    return timed(partial(ask, at, user, key))


def first(at: Site, number: int) -> float:
    """Milliseconds of a new sixtykeyd-ec2's first lookup that finds a push."""
    chain = (at.data.folder / "latest/meta-data/managed-ssh-keys/signer-cert").read_bytes()
    at.data.remove("managed-ssh-keys/signer-cert")
    with RunningEc2(at.daemon, environment=PLAIN):
        ask(at, "nobody-yet")
        at.data.write("managed-ssh-keys/signer-cert", chain)
        return cached(at, number)


def answers(at: Site) -> Spread:
    """Milliseconds of the service's own answer, on a kept-alive connection."""
    connection = http.client.HTTPConnection(urlsplit(at.url).netloc)
    path, name = "/latest/meta-data/managed-ssh-keys/active-keys/nobody-yet/", "X-aws-ec2-metadata"
    connection.request("PUT", "/latest/api/token", headers={f"{name}-token-ttl-seconds": "60"})
    headers = {f"{name}-token": connection.getresponse().read().decode()}

    def get() -> None:
        connection.request("GET", path, headers=headers)
        connection.getresponse().read()

    found = Spread.of([timed(get) for _ in range(LOOKUPS)])
    connection.close()
    return found


@figure
def metadata_lookup_ms() -> Figure:
    """Lookups for a user without keys, as at ordinary logins, and with pushes.

    The shell helper's times stand beside them.
    """
    with site() as at, work_directory() as folder:
        itself = answers(at)
        today = Spread.of([timed(partial(ask, at, "nobody-yet")) for _ in range(LOOKUPS)])
        pushes = {"first": Spread.of([first(at, 1000 + n) for n in range(FIRST)])}
        with RunningEc2(at.daemon, environment=PLAIN):
            cached(at, 1)
            pushes["cached"] = Spread.of([cached(at, 10 + n) for n in range(50)])
            none = Spread.of([timed(partial(ask, at, "nobody-yet")) for _ in range(LOOKUPS)])
        shell = by_shell(at, folder)
    above = none.median - today.median
    detail: dict[str, object] = {
        "words": f"{above:.2f} ms above, of which the metadata takes {itself.median:.2f}; a push "
        f"{pushes['first'].median:.1f} ms first, {pushes['cached'].median:.2f} ms cached; the "
        f"shell helper {shell['without'].median:.0f} ms without a key, "
        f"{shell['with'].median:.0f} ms with one",
        "ours_ms": vars(none),
        "without_source_ms": vars(today),
        "above_ms": round(above, 3),
        "answer_ms": vars(itself),
        **{f"{name}_push_ms": vars(spread) for name, spread in pushes.items()},
        **{f"shell_{name}_key_ms": vars(spread) for name, spread in shell.items()},
    }
    value = round(none.median, 3)
    return Figure("metadata_lookup_ms", value, "ms", "a lookup that asks no source", detail)


def by_shell(at: Site, folder: Path) -> dict[str, Spread]:
    """Milliseconds of the shell helper, without a key and with one."""
    helper, user, key = at.install_shell(folder), "root", ed25519_line(7)
    without = [timed(partial(run_shell, helper, user)) for _ in range(SHELL)]
    at.push(user, key)
    found = [timed(partial(run_shell, helper, user, key)) for _ in range(SHELL)]
    return {"without": Spread.of(without), "with": Spread.of(found)}
