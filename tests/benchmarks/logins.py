"""Logins a second with twelve clients, beside logins with a key in an AuthorizedKeysFile."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.login import login, sshd_with_both
from tests.benchmarks.pairs import Work
from tests.benchmarks.serving import PLAIN
from tests.benchmarks.throughput import rates
from tests.parts.daemon import RunningDaemon
from tests.parts.host import login_user, work_directory

CLIENTS, EACH, ROUNDS = 12, 3, 4


def together(work: Work) -> float:
    """Logins a second, twelve at a time."""
    start = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(work) for _ in range(CLIENTS * EACH)]:
            done.result()
    return CLIENTS * EACH / (time.perf_counter() - start)


def _measure(folder: Path, served: RunningDaemon, user: str) -> Figure:
    with sshd_with_both(folder, served, user) as (sshd, pushed, filed):
        return rates(
            "logins_per_second_vs_authorized_keys_file", "AuthorizedKeysFile",
            lambda: together(login(sshd, user, pushed)),
            lambda: together(login(sshd, user, filed)),
            ROUNDS,
        )  # fmt: skip


@figure
def logins_per_second_vs_authorized_keys_file() -> Figure:
    """The helper is run twice for each login, and costs a processor its time."""
    with (
        work_directory() as folder,
        login_user() as user,
        RunningDaemon(folder, environment=PLAIN) as served,
    ):
        return _measure(folder, served, user)
