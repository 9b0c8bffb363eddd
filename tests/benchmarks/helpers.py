"""The helpers that figures compare, each with its source of keys: a daemon, or metadata.

`compiled` and `python` are ours. `shell` asks EC2's metadata for each key with one program after
another, as AWS's own host scripts do (tests/parts/metadata_helper.sh), from a server on this host.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from tests.benchmarks.metadata import Site, site
from tests.benchmarks.serving import daemon
from tests.parts.daemon import RunningDaemon
from tests.parts.keys import KeyPair
from tests.parts.raw import ask
from tests.parts.signed import push
from tests.parts.sshd import HELPER, Install, install_compiled, install_helper

SYSTEM_PYTHON = "/usr/bin/python3"


@dataclass(frozen=True)
class Helper:
    """A helper to compare.

    Attributes:
        install: puts it into a folder; returns its path.
        start: puts it into a folder; returns the command line that begins a run of it.
        push: makes it find a key for a user; returns the line that it then prints.
        served: a daemon, for a peer that asks one.
    """

    install: Install
    start: Callable[[Path], list[str]]
    push: Callable[[str, KeyPair], str]
    served: RunningDaemon


def pushed(served: RunningDaemon, user: str, key: KeyPair) -> str:
    """Push a key to a daemon's local socket; return the line that a lookup gives."""
    answer = ask(served.push_socket, push(SSHPublicKey=key.line, InstanceOSUser=user).raw())
    if answer.status != 200:
        raise RuntimeError(f"a push was refused: {answer}")
    return f"{key.type} {key.base64} {answer.request_id}\n"


def _interpreted(_: Path) -> list[str]:
    return [SYSTEM_PYTHON, "-I", "-S", str(HELPER)]


def _compiled(folder: Path) -> list[str]:
    return [str(install_compiled(folder))]


@contextmanager
def helper(kind: str) -> Iterator[Helper]:
    """`compiled`, `python` or `shell`, ready to be used."""
    if kind == "shell":
        with site() as at:
            yield _shell(at)
        return
    with daemon() as served:
        install = install_compiled if kind == "compiled" else install_helper
        start = _compiled if kind == "compiled" else _interpreted
        yield Helper(install, start, lambda user, key: pushed(served, user, key), served)


def _shell(at: Site) -> Helper:
    def push_block(user: str, key: KeyPair) -> str:
        at.push(user, key.line)
        return f"{key.line}\n"

    def start(folder: Path) -> list[str]:
        return [str(at.install_shell(folder))]

    return Helper(at.install_shell, start, push_block, at.daemon)
