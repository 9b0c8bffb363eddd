"""The helper beside systemd's userdbctl, and beside a static C program that asks the daemon."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.helper import PAIRS, SYSTEM_PYTHON
from tests.benchmarks.pairs import Work, compare, process
from tests.benchmarks.serving import c_client, daemon
from tests.faults.load import push_one
from tests.parts.daemon import RunningDaemon
from tests.parts.host import ROOT, tool, work_directory
from tests.parts.keys import make_key
from tests.parts.raw import ask
from tests.parts.signed import push
from tests.parts.sshd import HELPER

USER = "ec2-user"


def helper_with_key(directory: Path, served: RunningDaemon) -> tuple[Work, list[str], bytes]:
    """The helper that finds a pushed key; the words and the line for a peer that finds it too."""
    key = make_key(directory)
    answer = ask(served.push_socket, push(SSHPublicKey=key.line, InstanceOSUser=USER).raw())
    line = f"{key.type} {key.base64} {answer.request_id}\n".encode()
    words = [USER, key.fingerprint()]
    command = [SYSTEM_PYTHON, "-I", "-S", str(HELPER), "--socket", served.lookup_socket, *words]
    return process(command, line), words, line


@figure
def helper_vs_static_c() -> Figure:
    """The limit: what no helper can beat, since it does nothing else."""
    with work_directory() as directory, daemon() as served:
        ours, words, line = helper_with_key(directory, served)
        program = c_client(directory)
        peer = process([str(program), served.lookup_socket, *words], line)
        pairs = compare(ours, peer, PAIRS)
    return Figure("helper_vs_static_c", pairs.ratio, "ratio", "static C client", pairs.detail())


@figure
def helper_vs_userdbctl() -> Figure:
    """What Debian 13's sshd runs by default: userdbctl ssh-authorized-keys, for a user it knows."""
    subprocess.run([str(ROOT / ".ci" / "need"), "userdbctl=systemd-userdbd"], check=True)
    userdbctl = tool("userdbctl", "systemd-userdbd")
    with work_directory() as directory, daemon() as served:
        push_one(served, "root")
        ours, _, _ = helper_with_key(directory, served)
        # root has no key in any user database: the whole of the asking, and an empty answer.
        pairs = compare(ours, process([userdbctl, "ssh-authorized-keys", "root"], b""), PAIRS)
    version = subprocess.run([userdbctl, "--version"], check=True, capture_output=True, text=True)
    detail = {**pairs.detail(), "peer_version": version.stdout.splitlines()[0]}
    return Figure("helper_vs_userdbctl", pairs.ratio, "ratio", "userdbctl", detail)
