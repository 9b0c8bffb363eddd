"""Logins a second with twelve clients, beside logins with a key in an AuthorizedKeysFile."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.helpers import helper
from tests.benchmarks.login import login, sshd_with_both
from tests.benchmarks.pairs import Work
from tests.benchmarks.throughput import rates
from tests.parts.host import login_user, work_directory

CLIENTS = 12
# Logins of each client in a round, and rounds of each side.
EACH = {"compiled": 3, "python": 3, "shell": 1}
ROUNDS = {"compiled": 12, "python": 8, "shell": 3}


def together(work: Work, each: int) -> float:
    """Logins a second, twelve at a time."""
    start = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(work) for _ in range(CLIENTS * each)]:
            done.result()
    return CLIENTS * each / (time.perf_counter() - start)


def vs_authorized_keys_file(name: str, kind: str) -> Figure:
    """The helper is run twice for each login, and costs a processor its time."""
    with (
        work_directory() as folder,
        login_user() as user,
        helper(kind) as ours,
        sshd_with_both(folder, ours, user) as (sshd, pushed, filed),
    ):

        def by_helper() -> float:
            ours.push(user, pushed)  # its minute begins anew with each round
            return together(login(sshd, user, pushed), EACH[kind])

        def by_file() -> float:
            return together(login(sshd, user, filed), EACH[kind])

        return rates(name, "AuthorizedKeysFile", by_helper, by_file, ROUNDS[kind])


@figure
def logins_per_second_vs_authorized_keys_file() -> Figure:
    """With the helper as packages have it."""
    return vs_authorized_keys_file("logins_per_second_vs_authorized_keys_file", "compiled")


@figure
def logins_per_second_vs_authorized_keys_file_python() -> Figure:
    """With the helper as it is where nothing was compiled."""
    return vs_authorized_keys_file("logins_per_second_vs_authorized_keys_file_python", "python")


@figure
def logins_per_second_vs_authorized_keys_file_shell() -> Figure:
    """With a script of the shape of EC2's own."""
    return vs_authorized_keys_file("logins_per_second_vs_authorized_keys_file_shell", "shell")
