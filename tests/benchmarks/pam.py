"""The cost of PAM's line for one-time keys for an ordinary login."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.login import login
from tests.benchmarks.pairs import Pairs, Work, alternate
from tests.parts.host import login_user, work_directory
from tests.parts.keys import make_key
from tests.parts.pam import PROGRAM, pam_namespace, sshd_with_pam

HOST_KEYS, PAIRS_EACH = 4, 20


def with_stack(service: Path, stack: str, work: Work) -> Work:
    """Run the work with these lines of PAM's, which sshd reads at each login."""

    def run() -> None:
        service.write_text(stack)
        work()

    return run


@figure
def login_with_pam_account_vs_without() -> Figure:
    """Logins with the user's own file on one sshd, with and without the line in turns."""
    mine: list[float] = []
    peer: list[float] = []
    with work_directory() as directory, login_user() as user:
        for number in range(HOST_KEYS):
            folder = directory / str(number)
            folder.mkdir(mode=0o755)
            with pam_namespace(folder) as prefix, sshd_with_pam(folder, prefix) as sshd:
                key, service = make_key(folder), folder / "pam.d" / "sshd"
                (folder / "authorized_keys").write_text(key.line + "\n")
                (folder / "handed").mkdir()
                lines = [e for e in service.read_text().splitlines() if "between" not in e]
                without = [line for line in lines if str(PROGRAM) not in line]
                assert len(lines) == len(without) + 1
                once = login(sshd, user, key)
                more = alternate(
                    with_stack(service, "\n".join(lines) + "\n", once),
                    with_stack(service, "\n".join(without) + "\n", once),
                    PAIRS_EACH,
                )
            mine += more[0]
            peer += more[1]
    pairs = Pairs.of(mine, peer)
    detail = {**pairs.detail(), "host_keys": HOST_KEYS}
    return Figure(
        "login_with_pam_account_vs_without", pairs.ratio, "ratio", "PAM without it", detail
    )
