"""The user's side: a whole ssh through the proxy against a plain one, and the proxy's start."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.pairs import Pairs, Work, alternate, compare
from tests.benchmarks.serving import PLAIN
from tests.parts.daemon import RunningDaemon
from tests.parts.host import IS_ROOT, login_user, tool, work_directory
from tests.parts.keys import KeyPair, make_key
from tests.parts.sshd import RunningSshd, install_compiled
from tests.parts.user import User
from tests.parts.world import Stage, good, names_host, somebody

# sshd rounds each step of a login up to a delay that depends on its host key and the user.
HOST_KEYS, PAIRS_EACH, STARTS = 6, 10, 60


def _run(user: User, *command: str) -> Work:
    """Run a command that must end with 0."""

    def work() -> None:
        done = subprocess.run(
            command, env=user.environment, stdin=subprocess.DEVNULL, capture_output=True,
            check=False, timeout=60, cwd=user.home,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stderr.decode()}")

    return work


@contextmanager
def _stage(folder: Path, daemon: RunningDaemon, login: str) -> Iterator[tuple[Stage, KeyPair]]:
    """An sshd with a key in AuthorizedKeysFile, which asks the daemon for other keys."""
    filed = make_key(folder, "filed")
    keys_file = folder / "authorized_keys"
    keys_file.write_text(filed.line + "\n")
    settings = [f"AuthorizedKeysFile {keys_file}", "StrictModes no"]
    # The helper that packages have; an ordinary user cannot put it where sshd would run it.
    install = install_compiled if IS_ROOT else None
    with RunningSshd(folder, daemon.lookup_socket, settings=settings, install=install) as sshd:
        yield Stage(daemon, sshd, login, names_host(daemon)), filed


def _plain_ssh(stage: Stage, filed: KeyPair) -> list[str]:
    """ssh with a key that is installed on both sides."""
    return [
        tool("ssh", "openssh-client"), "-F", "none", "-p", str(stage.sshd.port), "-i",
        str(filed.private), "-oIdentitiesOnly=yes", "-oIdentityAgent=none", "-oBatchMode=yes",
        f"-oUserKnownHostsFile={stage.sshd.known_hosts}", "-l", stage.login, "127.0.0.1", "true",
    ]  # fmt: skip


@figure
def ssh_through_proxy_vs_ssh() -> Figure:
    """A connection through the proxy, with a push, against one with an installed key."""
    ours: list[float] = []
    peer: list[float] = []
    ratios: list[float] = []
    with (
        work_directory() as directory,
        RunningDaemon(directory, environment=PLAIN) as daemon,
        login_user() as login,
    ):
        for number in range(HOST_KEYS):
            folder = directory / f"sshd-{number}"
            folder.mkdir(mode=0o755)
            with _stage(folder, daemon, login) as (stage, filed), somebody(stage) as world:
                good(world.user.sixtykey("login"))
                ssh = tool("ssh", "openssh-client")
                through = _run(world.user, ssh, "-F", str(world.user.config), world.place, "true")
                plain = _run(world.user, *_plain_ssh(stage, filed))
                more = alternate(through, plain, PAIRS_EACH)
            ours += more[0]
            peer += more[1]
            ratios.append(round(statistics.median(more[0]) / statistics.median(more[1]), 4))
    pairs = Pairs.of(ours, peer)
    detail = {**pairs.detail(), "host_keys": HOST_KEYS, "ratio_by_host_key": ratios}
    return Figure("ssh_through_proxy_vs_ssh", pairs.ratio, "ratio", "ssh, key in place", detail)


@figure
def proxy_start_ms() -> Figure:
    """The proxy's time before it connects, with a live lease: no push, no network."""
    with (
        work_directory() as directory,
        RunningDaemon(directory, environment=PLAIN) as daemon,
        login_user() as login,
        _stage(directory, daemon, login) as (stage, _),
    ):
        stage.settings["hosts"]["web-*"].update(uses="unlimited", lifetime=60)
        with somebody(stage) as world:
            good(world.user.sixtykey("login"))
            words = ("proxy", "--push-only", login, "web-1", "22")
            proxy = _run(world.user, tool("sixtykey", "sixtykey"), *words)
            bare = _run(world.user, sys.executable, "-c", "pass")
            pairs = compare(proxy, bare, STARTS)
    value = pairs.ours_ms.median
    return Figure("proxy_start_ms", value, "ms", "the interpreter's own start", pairs.detail())
