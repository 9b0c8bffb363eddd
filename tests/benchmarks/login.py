"""Whole logins with a pushed key, compared with a key in an AuthorizedKeysFile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.helpers import Helper, helper
from tests.benchmarks.pairs import Pairs, Work, alternate
from tests.parts.host import login_user, work_directory
from tests.parts.keys import KeyPair, make_key
from tests.parts.sshd import RunningSshd

# sshd rounds each step of a login up to a delay that depends on its host key and the user (OpenSSH,
# auth2.c, user_specific_delay): one host key says little, so there are several.
HOST_KEYS = 8
PAIRS_EACH = {"compiled": 10, "python": 10, "shell": 4}


def login(sshd: RunningSshd, user: str, key: KeyPair) -> Work:
    """A login with OpenSSH that runs a command.

    The returned function raises RuntimeError if refused.
    """

    def work() -> None:
        done = sshd.login(user, key)
        if not done.accepted:
            raise RuntimeError(f"login: {done.message}\n{sshd.log()}")

    return work


@contextmanager
def sshd_with_both(
    directory: Path, ours: Helper, user: str
) -> Iterator[tuple[RunningSshd, KeyPair, KeyPair]]:
    """One sshd, a key that was pushed, and a key in its AuthorizedKeysFile.

    sshd reads the file first, so for that key it does not run the helper. StrictModes would refuse
    a file below /tmp.
    """
    pushed, filed = make_key(directory, "pushed"), make_key(directory, "filed")
    keys_file = directory / "authorized_keys"
    keys_file.write_text(filed.line + "\n")
    ours.push(user, pushed)
    settings = [f"AuthorizedKeysFile {keys_file}", "StrictModes no"]
    socket = ours.served.lookup_socket
    with RunningSshd(directory, socket, settings=settings, install=ours.install) as sshd:
        yield sshd, pushed, filed


def vs_authorized_keys_file(name: str, kind: str) -> Figure:
    """Compare logins with both keys, in turns on the same sshd."""
    mine: list[float] = []
    peer: list[float] = []
    ratios: list[float] = []
    with work_directory() as directory, helper(kind) as ours, login_user() as user:
        for number in range(HOST_KEYS):
            folder = directory / f"sshd-{number}"
            folder.mkdir(mode=0o755)
            with sshd_with_both(folder, ours, user) as (sshd, pushed, filed):
                more = alternate(
                    login(sshd, user, pushed), login(sshd, user, filed), PAIRS_EACH[kind]
                )
            mine += more[0]
            peer += more[1]
            ratios.append(round(median(more[0]) / median(more[1]), 4))
    pairs = Pairs.of(mine, peer)
    detail = {**pairs.detail(), "host_keys": HOST_KEYS, "ratio_by_host_key": ratios}
    return Figure(name, pairs.ratio, "ratio", "AuthorizedKeysFile", detail)


@figure
def login_vs_authorized_keys_file() -> Figure:
    """With the compiled helper of the packages."""
    return vs_authorized_keys_file("login_vs_authorized_keys_file", "compiled")


@figure
def login_vs_authorized_keys_file_python() -> Figure:
    """With the helper in Python, which is used where nothing is compiled."""
    return vs_authorized_keys_file("login_vs_authorized_keys_file_python", "python")


@figure
def login_vs_authorized_keys_file_shell() -> Figure:
    """With a shell script like EC2's own."""
    return vs_authorized_keys_file("login_vs_authorized_keys_file_shell", "shell")
