"""Logins a second with twelve clients, compared with a key in an AuthorizedKeysFile."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Optional

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


def together(work: Work, each: int, refused: Optional[list[str]] = None) -> float:
    """Logins a second, with twelve clients at a time.

    A refused login is added to `refused` and not counted; without that list it raises RuntimeError.
    """
    accepted, start = 0, time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(work) for _ in range(CLIENTS * each)]:
            try:
                done.result()
                accepted += 1
            except RuntimeError as error:
                if refused is None:
                    raise
                refused.append(str(error))
    return accepted / (time.perf_counter() - start)


def vs_authorized_keys_file(name: str, kind: str) -> Figure:
    """Compare both keys; the helper runs twice for each login and takes processor time."""
    with (
        work_directory() as folder,
        login_user() as user,
        helper(kind) as ours,
        sshd_with_both(folder, ours, user) as (sshd, pushed, filed),
    ):
        # The script has a timeout of one second for each request, and many at once take longer.
        refused: Optional[list[str]] = [] if kind == "shell" else None

        def by_helper() -> float:
            ours.push(user, pushed)  # its minute begins anew with each round
            return together(login(sshd, user, pushed), EACH[kind], refused)

        def by_file() -> float:
            return together(login(sshd, user, filed), EACH[kind])

        found = rates(name, "AuthorizedKeysFile", by_helper, by_file, ROUNDS[kind])
    return replace(found, detail={**found.detail, "refused": len(refused or [])})


@figure
def logins_per_second_vs_authorized_keys_file() -> Figure:
    """With the compiled helper of the packages."""
    return vs_authorized_keys_file("logins_per_second_vs_authorized_keys_file", "compiled")


@figure
def logins_per_second_vs_authorized_keys_file_python() -> Figure:
    """With the helper in Python, which is used where nothing is compiled."""
    return vs_authorized_keys_file("logins_per_second_vs_authorized_keys_file_python", "python")


@figure
def logins_per_second_vs_authorized_keys_file_shell() -> Figure:
    """With a shell script like EC2's own."""
    return vs_authorized_keys_file("logins_per_second_vs_authorized_keys_file_shell", "shell")
