"""The helpers compared with systemd's userdbctl, and with a static C program that only asks."""

from __future__ import annotations

import subprocess

from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.helper import PAIRS
from tests.benchmarks.helpers import helper, pushed
from tests.benchmarks.pairs import FEWEST, compare, process
from tests.benchmarks.serving import c_client
from tests.parts.host import ROOT, tool, work_directory
from tests.parts.keys import make_key

# This user exists on every host; the shell script looks it up.
USER = "root"


def pairs_of(kind: str) -> int:
    """The number of pairs: fewer for the shell script, which takes a hundred times as long."""
    return FEWEST if kind == "shell" else PAIRS


def vs_static_c(name: str, kind: str) -> Figure:
    """Compare a helper with the lower limit: a program that only asks."""
    with work_directory() as directory, helper(kind) as ours:
        key, other = make_key(directory), make_key(directory, "other")
        start = [*ours.start(directory), "--socket", ours.served.lookup_socket]
        line = ours.push(USER, key)
        # The peer asks the daemon for a different key, of another user.
        expected = pushed(ours.served, "ec2-user", other).encode() + b"\n"
        command = [str(c_client(directory)), ours.served.lookup_socket]
        pairs = compare(
            process([*start, USER, key.fingerprint()], line.encode()),
            process([*command, "ec2-user", other.fingerprint()], expected),
            pairs_of(kind),
        )
    return Figure(name, pairs.ratio, "ratio", "static C client", pairs.detail())


@figure
def helper_vs_static_c() -> Figure:
    """The compiled helper of the packages."""
    return vs_static_c("helper_vs_static_c", "compiled")


@figure
def helper_vs_static_c_python() -> Figure:
    """The helper in Python, which is used where nothing is compiled."""
    return vs_static_c("helper_vs_static_c_python", "python")


@figure
def helper_vs_static_c_shell() -> Figure:
    """A shell script like EC2's own."""
    return vs_static_c("helper_vs_static_c_shell", "shell")


def vs_userdbctl(name: str, kind: str) -> Figure:
    """Compare with Debian 13's default: userdbctl ssh-authorized-keys, for a user that it knows."""
    subprocess.run([str(ROOT / ".ci" / "need"), "userdbctl=systemd-userdbd"], check=True)
    userdbctl = tool("userdbctl", "systemd-userdbd")
    with work_directory() as directory, helper(kind) as ours:
        key = make_key(directory)
        start = [*ours.start(directory), "--socket", ours.served.lookup_socket]
        line = ours.push(USER, key)
        # root has no key in any user database: the whole of the asking, and an empty answer.
        pairs = compare(
            process([*start, USER, key.fingerprint()], line.encode()),
            process([userdbctl, "ssh-authorized-keys", "root"], b""),
            pairs_of(kind),
        )
    version = subprocess.run([userdbctl, "--version"], check=True, capture_output=True, text=True)
    detail = {**pairs.detail(), "peer_version": version.stdout.splitlines()[0]}
    return Figure(name, pairs.ratio, "ratio", "userdbctl", detail)


@figure
def helper_vs_userdbctl() -> Figure:
    """The compiled helper of the packages."""
    return vs_userdbctl("helper_vs_userdbctl", "compiled")


@figure
def helper_vs_userdbctl_python() -> Figure:
    """The helper in Python, which is used where nothing is compiled."""
    return vs_userdbctl("helper_vs_userdbctl_python", "python")


@figure
def helper_vs_userdbctl_shell() -> Figure:
    """A shell script like EC2's own."""
    return vs_userdbctl("helper_vs_userdbctl_shell", "shell")
